//! A file as lines, a line as name and value. Mosquitto's rules, and what is forgiven beyond them.
//!
//! `#` begins a comment in the first column alone; the name ends at a blank; the value is what follows. Names are
//! case-sensitive.

/// What a line says.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// A comment, or nothing.
    Empty,
    Option(Assignment<'a>),
    /// Not a line of a configuration.
    Fault {
        reason: String,
        write_instead: Option<String>,
    },
}

#[derive(PartialEq, Eq, Debug)]
pub(super) struct Assignment<'a> {
    pub name: &'a str,
    /// Without the blanks around it. May be anything but NUL and line ends.
    pub value: &'a [u8],
    /// `name = value` or `name=value`: the value follows a sign that Mosquitto does not know.
    pub equals: bool,
}

/// What was forgiven, as ends of the sentence "the line …".
pub(super) type Forgiven = Vec<&'static str>;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The lines of a file with their numbers, from 1, without what ends them.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let numbered = bytes.split(|&byte| byte == b'\n').zip(1u32..);
    numbered.map(|(line, number)| {
        let end = line.iter().rposition(|&byte| byte != b'\r');
        (number, &line[..end.map_or(0, |index| index + 1)])
    })
}

/// Reads one line.
pub(super) fn parse<'a>(number: u32, line: &'a [u8]) -> (Line<'a>, Forgiven) {
    let mut forgiven = Forgiven::new();
    let mut line = line;
    if number == 1 && line.starts_with(BOM) {
        line = &line[BOM.len()..];
        forgiven.push("begins with a byte order mark, which Mosquitto takes for part of the name");
    }
    if line.contains(&0) {
        return fault(
            forgiven,
            "a NUL byte: the file is damaged, and Mosquitto ignores all that follows it",
            None,
        );
    }
    if line.first() == Some(&b'#') {
        return (Line::Empty, forgiven);
    }
    let blanks = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t'));
    let (indent, rest) = line.split_at(blanks.count());
    if rest.is_empty() {
        if indent.contains(&b'\t') {
            forgiven.push("holds nothing but a TAB, which Mosquitto takes for a name");
        }
        return (Line::Empty, forgiven);
    }
    if rest[0] == b'#' {
        forgiven.push("is a comment, which Mosquitto knows in the first column alone");
        return (Line::Empty, forgiven);
    }
    if rest.contains(&b'\r') {
        let reason =
            "a carriage return stands within the line: save the file with line ends of Unix";
        return fault(forgiven, reason, None);
    }
    if indent.contains(&b'\t') {
        forgiven.push("begins with a TAB, which Mosquitto takes for part of the name");
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | b'='));
    let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
    let Ok(name) = std::str::from_utf8(name) else {
        let text = String::from_utf8_lossy(name);
        return fault(forgiven, &format!("`{text}` is no option"), None);
    };
    if let Some(reason) = foreign(name) {
        return fault(forgiven, reason, comment_of(rest));
    }
    let (equals, mut value) = match after {
        [b'=', value @ ..] => (true, value),
        _ => (false, after),
    };
    if value.first() == Some(&b'\t') {
        forgiven.push("has a TAB where Mosquitto wants a blank");
    }
    value = trim(value);
    let mut equals = equals;
    if !equals
        && let [b'=', after @ ..] = value
        && matches!(after.first(), None | Some(b' ' | b'\t'))
    {
        equals = true;
        value = trim(after);
    }
    let assignment = Assignment {
        name,
        value,
        equals,
    };
    (Line::Option(assignment), forgiven)
}

fn fault<'a>(
    forgiven: Forgiven,
    reason: &str,
    write_instead: Option<String>,
) -> (Line<'a>, Forgiven) {
    let reason = reason.to_owned();
    let line = Line::Fault {
        reason,
        write_instead,
    };
    (line, forgiven)
}

/// What people paste into configurations.
fn foreign(name: &str) -> Option<&'static str> {
    if name.starts_with("//") || name.starts_with(';') {
        Some("a comment begins with `#`")
    } else if name.starts_with("{%") || name.starts_with("{{") || name.starts_with("<%") {
        Some("a template that was not filled in")
    } else if name.contains('\u{A0}') {
        Some("a no-break space stands where a blank must: type the line anew")
    } else if name.starts_with('[') {
        Some("a configuration of Mosquitto has no sections in brackets: remove the line")
    } else {
        None
    }
}

/// The comment that was meant.
fn comment_of(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let meant = text.strip_prefix("//").or_else(|| text.strip_prefix(';'))?;
    Some(format!("# {}", meant.trim()))
}

/// What C's isspace() knows, off both ends.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xB | 0xC);
    let start = bytes.iter().position(|byte| !is_space(byte));
    let end = bytes.iter().rposition(|byte| !is_space(byte));
    match (start, end) {
        (Some(start), Some(end)) => &bytes[start..=end],
        _ => b"",
    }
}
