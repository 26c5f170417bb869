//! The lines of an answer.

use crate::io::helpers::answers::text_line;
use crate::io::helpers::known::VERSION;
use serde_json::{Value, json};

/// Appends one line.
pub fn put(out: &mut Vec<u8>, value: Value) {
    out.extend_from_slice(text_line(&value.to_string()).as_bytes());
    out.push(b'\n');
}

/// The last line of an answer that is complete.
pub fn end(out: &mut Vec<u8>, count: usize) {
    put(
        out,
        json!({ "end": true, "count": count, "protocol": VERSION }),
    );
}

/// An error, which ends the answer.
pub fn refuse(code: &str, text: &str, out: &mut Vec<u8>) {
    put(out, json!({ "error": code, "text": text }));
}
