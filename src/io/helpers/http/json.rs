//! How much a text of JSON becomes.

use crate::limits;

/// It has so many values that reading it would take many times its bytes: an object of one field takes eight bytes to
/// write and six hundred to hold. No request has more than a few.
pub fn has_many_values(text: &[u8]) -> bool {
    let (mut in_string, mut at, mut values) = (false, 0, 0);
    while let Some(byte) = text.get(at) {
        match (byte, in_string) {
            (b'"', _) => in_string = !in_string,
            // What it escapes ends no string.
            (b'\\', true) => at += 1,
            (b'{' | b'[' | b',', false) => values += 1,
            _ => {}
        }
        at += 1;
    }
    values > limits::HTTP_JSON_VALUES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        let most = limits::HTTP_JSON_VALUES_MAX;
        for (piece, are_many) in [
            (r#"{"":0},"#, true),
            ("[],", true),
            ("0,", true),
            (r#"{"a":{"b":1}}"#, true),
        ] {
            assert_eq!(has_many_values(piece.repeat(most + 1).as_bytes()), are_many);
            assert!(!has_many_values(piece.repeat(most / 4).as_bytes()));
        }
        let text = format!(r#"{{"payload":"\"{}\\"}}"#, "[{,".repeat(most));
        assert!(!has_many_values(text.as_bytes()));
        let text = format!(r#"{{"payload":"\\"}}{}"#, "{}".repeat(most));
        assert!(has_many_values(text.as_bytes()));
        assert!(!has_many_values(br#"""\"#));
    }
}
