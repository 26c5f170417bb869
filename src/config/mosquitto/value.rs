//! The value of an option by its kind: as Mosquitto reads it, or as it was clearly meant.

use super::table::{Bounds, Row, Takes};

/// A value, understood as far as its kind goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Flag(bool),
    Number(i64),
    /// A text or a path, never empty.
    Text(String),
    /// Cut at blanks; at least one. What follows a `#` may be a comment: each option knows its own.
    Words(Vec<String>),
    Nothing,
}

/// A value and what must be said about how it was taken, as sentences.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub value: Value,
    pub warnings: Vec<String>,
}

/// A value that is not taken.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Unfit {
    pub reason: String,
    /// The line, name and all.
    pub write_instead: Option<String>,
}

impl Unfit {
    pub fn new(reason: impl Into<String>, write_instead: Option<String>) -> Unfit {
        Unfit {
            reason: reason.into(),
            write_instead,
        }
    }
}

/// Reads a value.
///
/// `name` is what stands in the file; `loose` says that the line as a whole is not as Mosquitto wants it (a TAB, an
/// `=`), so that a flag which opens something is not taken.
pub(super) fn take(row: &Row, name: &str, bytes: &[u8], loose: bool) -> Result<Taken, Unfit> {
    if bytes.is_empty() && row.takes != Takes::Nothing {
        let instead = format!("{name} {}", example(row));
        return Err(Unfit::new(format!("`{name}` has no value"), Some(instead)));
    }
    let mut taken = Taken {
        value: Value::Nothing,
        warnings: Vec::new(),
    };
    taken.value = match row.takes {
        Takes::Nothing => Value::Nothing,
        Takes::Flag { opens } => flag(name, bytes, opens, loose, &mut taken.warnings)?,
        Takes::Number(bounds) => number(row, name, bytes, bounds, false, &mut taken.warnings)?,
        Takes::Size(bounds) => number(row, name, bytes, bounds, true, &mut taken.warnings)?,
        Takes::Text | Takes::Read | Takes::Folder | Takes::Write => {
            let Ok(text) = std::str::from_utf8(bytes) else {
                return Err(Unfit::new("the value is not UTF-8", None));
            };
            Value::Text(text.to_owned())
        }
        Takes::Words => Value::Words(words(bytes)),
    };
    Ok(taken)
}

/// Cut at blanks and TABs.
fn words(bytes: &[u8]) -> Vec<String> {
    let words = bytes.split(|byte| matches!(byte, b' ' | b'\t'));
    let words = words.filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The first word, and whether what follows it is no comment.
fn first(bytes: &[u8], warnings: &mut Vec<String>) -> String {
    let mut words = words(bytes).into_iter();
    let first = words.next().unwrap_or_default();
    if let Some(next) = words.next().filter(|next| !next.starts_with('#')) {
        warnings.push(format!(
            "what follows `{first}` is ignored, from `{next}` on"
        ));
    }
    first
}

fn flag(
    name: &str,
    bytes: &[u8],
    opens: Option<bool>,
    loose: bool,
    warnings: &mut Vec<String>,
) -> Result<Value, Unfit> {
    let word = first(bytes, warnings);
    let plain = word
        .trim_matches(['"', '\'', ',', ';'])
        .to_ascii_lowercase();
    let value = match plain.as_str() {
        "true" | "1" | "yes" | "on" => true,
        "false" | "0" | "no" | "off" => false,
        _ => {
            let reason = format!("`{name}` is true or false, not `{word}`");
            return Err(Unfit::new(reason, Some(format!("{name} false"))));
        }
    };
    let exact = matches!(word.as_str(), "true" | "false" | "1" | "0");
    let instead = || Some(format!("{name} {value}"));
    if (loose || !exact) && opens == Some(value) {
        let reason = "the line lets in more than without it, so it is taken only as Mosquitto wants it written";
        return Err(Unfit::new(reason, instead()));
    }
    if !exact {
        warnings.push(format!(
            "`{word}` is taken as {value}, which Mosquitto does not do"
        ));
    }
    Ok(Value::Flag(value))
}

/// A number as C's atoi() reads it: as far as the digits go, and 0 where there are none.
fn number(
    row: &Row,
    name: &str,
    bytes: &[u8],
    bounds: Bounds,
    is_size: bool,
    warnings: &mut Vec<String>,
) -> Result<Value, Unfit> {
    let word = first(bytes, warnings);
    let plain = word.trim_matches('"');
    let (mut value, rest) = digits(plain);
    match unit(rest) {
        Some(unit) if is_size && rest.len() < plain.len() => {
            value = value.saturating_mul(unit);
            warnings.push(format!(
                "`{word}` is taken as {value} bytes; Mosquitto reads the number alone"
            ));
        }
        _ if plain != word && rest.is_empty() => {
            warnings.push(format!("`{word}` is taken as {value}"));
        }
        _ if rest.is_empty() => {}
        _ => warnings.push(format!("`{word}` is read as {value}, as Mosquitto does")),
    }
    if row.option == "max_packet_size" && value == 0 {
        warnings.push("0 is taken for \"no limit\"; Mosquitto refuses it".into());
        return Ok(Value::Number(0));
    }
    let value = if value < bounds.least {
        bounds.below
    } else if value > bounds.most {
        if let Some(above) = bounds.above {
            warnings.push(format!(
                "{above} is taken, the most there can be; Mosquitto refuses more"
            ));
        }
        bounds.above
    } else {
        Some(value)
    };
    value.map(Value::Number).ok_or_else(|| {
        let reason = match (bounds.least, bounds.most) {
            (least, i64::MAX) => format!("`{name}` is at least {least}"),
            (least, most) => format!("`{name}` is {least} to {most}"),
        };
        let instead = format!(
            "{name} {}",
            bounds.least.max(digits(plain).0.min(bounds.most))
        );
        Unfit::new(reason, Some(instead))
    })
}

/// The number a word begins with, and what follows it.
fn digits(word: &str) -> (i64, &str) {
    let (negative, digits) = match word.as_bytes().first() {
        Some(b'-') => (true, &word[1..]),
        Some(b'+') => (false, &word[1..]),
        _ => (false, word),
    };
    let end = digits.bytes().position(|byte| !byte.is_ascii_digit());
    let (number, rest) = digits.split_at(end.unwrap_or(digits.len()));
    if number.is_empty() {
        return (0, word);
    }
    let add = |sum: i64, byte: u8| {
        sum.saturating_mul(10)
            .saturating_add(i64::from(byte - b'0'))
    };
    let value = number.bytes().fold(0, add);
    (if negative { -value } else { value }, rest)
}

/// What follows a number of bytes.
fn unit(text: &str) -> Option<i64> {
    match text.to_ascii_lowercase().as_str() {
        "b" => Some(1),
        "k" | "kb" | "kib" => Some(1 << 10),
        "m" | "mb" | "mib" => Some(1 << 20),
        "g" | "gb" | "gib" => Some(1 << 30),
        _ => None,
    }
}

/// What could stand behind a name that stands alone.
fn example(row: &Row) -> &'static str {
    match row.takes {
        Takes::Flag { .. } => "false",
        Takes::Number(_) | Takes::Size(_) => "NUMBER",
        Takes::Read | Takes::Write => "FILE",
        Takes::Folder => "FOLDER",
        _ => "VALUE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_like_atoi() {
        for (word, value, rest) in [
            ("20", 20, ""),
            ("60s", 60, "s"),
            ("-5x", -5, "x"),
            ("+7", 7, ""),
            ("abc", 0, "abc"),
            ("-", 0, "-"),
            ("", 0, ""),
            ("99999999999999999999", i64::MAX, ""),
            ("-99999999999999999999", -i64::MAX, ""),
            ("1,000", 1, ",000"),
        ] {
            assert_eq!(digits(word), (value, rest), "{word}");
        }
    }
}
