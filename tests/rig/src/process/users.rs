//! Two users, and how they log in.

use super::packet::Connect;

/// Their lines of a password file, made by Mosquitto's own tool: `alice` with the password `secret`, `old` with
/// `oldpw`.
pub const ALICE: &str = "alice:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==\n";
/// See [`ALICE`].
pub const OLD: &str = "old:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==\n";

/// CONNECT of a user.
pub fn login<'a>(client_id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect {
        client_id: client_id.as_bytes(),
        user: Some(user),
        password: Some(password),
        ..Connect::default()
    }
}
