//! What a person reads: sizes and times with units, columns that line up.

use super::figures::Figures;
use crate::io::helpers::zone::Zone;
use crate::io::store::database::FILE_NAME;
use crate::io::store::keeping::unix_s;
use crate::io::words::units::span;
pub use crate::io::words::units::{bytes, count};
use crate::store::Table;
use std::fmt::Write;

/// The two words for one or many of something.
fn many(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// The name of a table in the plural, as an operator calls what is in it.
pub fn name(table: Table) -> &'static str {
    match table {
        Table::Session => "sessions",
        Table::Subscription => "subscriptions",
        Table::Message => "shared messages",
        Table::Delivery => "deliveries",
        Table::Received => "QoS 2 received",
        Table::Retained => "retained messages",
        Table::Will => "wills",
        Table::Batch => "batches",
    }
}

fn when_written(figures: &Figures) -> String {
    let Some(state) = &figures.image.state else {
        return "not known".to_owned();
    };
    if state.stamp == 0 {
        return "never: it is new".to_owned();
    }
    let mut text = String::new();
    Zone::local().append_time(state.stamp.cast_signed(), &mut text);
    let ago = unix_s().saturating_sub(state.stamp);
    let _ = write!(text, ", {} ago", span(ago));
    text += match state.clean {
        true => ", by an orderly stop",
        false => ", before a crash or a power cut",
    };
    text
}

fn head(figures: &Figures) -> String {
    let mut text = format!("store in {}\n", figures.directory.display());
    let _ = writeln!(text, "  written   {}", when_written(figures));
    for (index, (name, size)) in figures.files.iter().enumerate() {
        let title = if index == 0 { "files" } else { "" };
        let aside = match name.strip_prefix(FILE_NAME) {
            Some(rest) if rest.contains(".damaged-") || rest.contains(".broken-") => {
                "  kept for a person to look at"
            }
            _ => "",
        };
        let _ = writeln!(text, "  {title:8}  {:>10}  {name}{aside}", bytes(*size));
    }
    for (index, (path, size)) in figures.journals.iter().enumerate() {
        let title = if index == 0 { "journals" } else { "" };
        let _ = writeln!(
            text,
            "  {title:8}  {:>10}  {}",
            bytes(*size),
            path.display()
        );
    }
    if figures.image.replayed > 0 {
        let changes = many(
            figures.image.replayed,
            "change of the journals is",
            "changes of the journals are",
        );
        let _ = writeln!(
            text,
            "            {changes} not in the file yet, and counted here"
        );
    }
    for note in &figures.notes {
        let _ = writeln!(text, "  note      {note}");
    }
    text
}

/// For `show`.
pub fn show(figures: &Figures) -> String {
    let mut text = head(figures);
    text.push('\n');
    let mut line = |name: &str, number: u64, size: Option<u64>, note: &str| {
        let size = size.map(bytes).unwrap_or_default();
        let line = format!("  {name:18} {:>10}  {size:>10}  {note}", count(number));
        text += line.trim_end();
        text.push('\n');
    };
    let sessions = figures.sum(Table::Session);
    let connected = match figures.connected {
        0 => String::new(),
        connected => format!("{} connected when it was written", count(connected)),
    };
    line(
        name(Table::Session),
        sessions.rows,
        Some(sessions.bytes),
        &connected,
    );
    let subscriptions = figures.sum(Table::Subscription);
    let size = Some(subscriptions.bytes);
    line(name(Table::Subscription), subscriptions.rows, size, "");
    let deliveries = figures.sum(Table::Delivery);
    let shared = figures.sum(Table::Message);
    let note = match shared.rows {
        0 => String::new(),
        rows => format!(
            "{} for several sessions each",
            many(rows, "of them", "of them")
        ),
    };
    line(
        "messages queued",
        figures.queued,
        Some(deliveries.bytes + shared.bytes),
        &note,
    );
    line("messages in flight", figures.in_flight, None, "");
    let received = figures.sum(Table::Received);
    line(
        name(Table::Received),
        received.rows,
        Some(received.bytes),
        "",
    );
    for table in [Table::Retained, Table::Will] {
        let sum = figures.sum(table);
        line(name(table), sum.rows, Some(sum.bytes), "");
    }
    if !figures.queues.is_empty() {
        text += "\nmost waits for\n";
        for queue in &figures.queues {
            let _ = writeln!(
                text,
                "  {:>10}  {:>10}  {}",
                many(queue.messages, "message", "messages"),
                bytes(queue.bytes),
                queue.client_id.escape_debug()
            );
        }
    }
    let free = figures.free_bytes();
    if free >= crate::limits::STORE_FREE_BYTES_TOLD {
        let free = bytes(free);
        let _ = writeln!(
            text,
            "\n{free} of the file are free; mqttfast store compact gives them back to the disk"
        );
    }
    if !figures.image.damage.is_none() {
        text += "\nthe store is damaged; mqttfast store check says what is lost\n";
    }
    text
}

/// For `check`.
pub fn check(figures: &Figures) -> String {
    let mut text = head(figures);
    let damage = &figures.image.damage;
    let rows: u64 = figures.tables.values().map(|sum| sum.rows).sum();
    if damage.is_none() {
        let _ = writeln!(
            text,
            "\nsound: {} prove themselves",
            many(rows, "row", "rows")
        );
        return text;
    }
    text += "\nDAMAGED\n";
    let tables = Table::ALL.into_iter().map(Some);
    for table in tables.chain([None]) {
        let here = [
            (damage.rows.of(table), "damaged"),
            (damage.rows_of_pages.of(table), "or so on missing pages"),
            (damage.orphans.of(table), "of what is gone"),
        ];
        let found: Vec<String> = here
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect();
        let pages = damage.pages.of(table);
        if found.is_empty() && pages == 0 {
            continue;
        }
        let left = table.map_or(0, |table| figures.sum(table).rows);
        let name = table.map_or("not known of what", name);
        let mut line = format!("  {name:18} {:>10} left", count(left));
        for part in found {
            let _ = write!(line, ", {part}");
        }
        if pages > 0 {
            let _ = write!(
                line,
                " ({})",
                many(pages, "page is missing", "pages are missing")
            );
        }
        text += &line;
        text.push('\n');
    }
    if damage.stray > 0 {
        let pages = many(damage.stray, "page", "pages");
        let _ = writeln!(
            text,
            "  {pages} that no table names: rows on them are found"
        );
    }
    if damage.state {
        text += "  the numbers of the whole store: they are made anew of the rows\n";
    }
    if damage.gap > 0 {
        let changes = many(damage.gap, "change", "changes");
        let _ = writeln!(
            text,
            "  {changes} between the file and the journals: the file is an older copy"
        );
    }
    if damage.records > 0 {
        let changes = many(damage.records, "change", "changes");
        let _ = writeln!(text, "  {changes} in the journals that cannot be read");
    }
    text += "\nwhat will be lost\n";
    for sentence in losses(figures) {
        let _ = writeln!(text, "  {sentence}");
    }
    let _ = writeln!(
        text,
        "\nthe next start of the broker, or mqttfast store compact, keeps what is left, and keeps this file as\n{FILE_NAME}.damaged-TIME beside it"
    );
    text
}

/// What damage of each table means.
pub fn losses(figures: &Figures) -> Vec<String> {
    let damage = &figures.image.damage;
    let mut losses = Vec::new();
    for table in Table::ALL {
        let of = Some(table);
        let lost = damage.rows.of(of) + damage.rows_of_pages.of(of) + damage.orphans.of(of);
        let about = if damage.pages.of(of) > 0 {
            "about "
        } else {
            ""
        };
        if lost == 0 {
            continue;
        }
        let (what, meaning) = match table {
            Table::Session => (
                many(lost, "session", "sessions"),
                "with their subscriptions and messages: Session Present will be 0",
            ),
            Table::Subscription => (
                many(lost, "subscription", "subscriptions"),
                "until their clients subscribe again",
            ),
            Table::Message => (
                many(lost, "message", "messages"),
                "for all the sessions that each was queued for",
            ),
            Table::Delivery => (
                many(lost, "message", "messages"),
                "queued for a session or on its way to one",
            ),
            Table::Received => (
                many(lost, "identifier", "identifiers"),
                "of QoS 2: such a message may be delivered twice",
            ),
            Table::Retained => (
                many(lost, "retained message", "retained messages"),
                "until their topics are published to again",
            ),
            Table::Batch => (
                many(
                    lost,
                    "batch of retained messages",
                    "batches of retained messages",
                ),
                "of the last minutes: their topics have an older one, or none",
            ),
            Table::Will => (
                many(lost, "will", "wills"),
                "of clients that were connected",
            ),
        };
        losses.push(format!("{about}{what}, {meaning}"));
    }
    let unknown = damage.rows.of(None) + damage.pages.of(None);
    if unknown > 0 {
        losses.push(format!(
            "{} of which nobody can say what they held",
            many(unknown, "place", "places")
        ));
    }
    if damage.gap + damage.records > 0 {
        losses.push(many(damage.gap + damage.records, "change", "changes"));
    }
    if losses.is_empty() {
        losses.push("nothing that was stored".to_owned());
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_spans_and_counts() {
        let shown = [0, 1023, 1024, 1_048_524, 1_048_576, 5 << 30].map(bytes);
        let expected = [
            "0 B",
            "1023 B",
            "1.0 KiB",
            "1023.9 KiB",
            "1.0 MiB",
            "5.0 GiB",
        ];
        assert_eq!(shown, expected);
        let shown = [0, 119, 120, 7_199, 7_200, 172_800].map(span);
        assert_eq!(shown, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
        let shown = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
