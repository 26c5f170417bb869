//! The lines of Mosquitto's log about Clients that come, go and are refused, for a broker that reads a
//! `mosquitto.conf`: what people search for in them is found here too. `docs/mosquitto.md` lists them.
//!
//! Behind Mosquitto's words stands what it does not say: the reason, and the address.

use crate::broker::{
    CloseCause, ConnectionEnd, Happening, Identity, Refusal, SessionBegin, Unaccepted, Violation,
};
use crate::io::words::{self, Shown, peer};
use crate::wire::Version;
use std::net::SocketAddr;

/// Mosquitto's line for an event; `None`: it has none.
pub fn sentence(happening: &Happening) -> Option<String> {
    match happening {
        Happening::Connected {
            who,
            version,
            session,
            keep_alive_s,
        } => {
            let protocol = match version {
                Version::V31 => 1,
                Version::V311 => 2,
                Version::V5 => 5,
            };
            let clean = u8::from(*session == SessionBegin::Clean);
            let user = match &who.user_name {
                Some(user_name) => format!(", u'{}'", Shown(user_name)),
                None => String::new(),
            };
            Some(format!(
                "New client connected from {} as {} (p{protocol}, c{clean}, k{keep_alive_s}{user}).",
                peer(who.address),
                client(who)
            ))
        }
        Happening::Refused { who, why } => {
            let user = match &who.user_name {
                Some(user_name) => format!("user {}", Shown(user_name)),
                None => "no user".to_owned(),
            };
            let word = match why {
                Refusal::Anonymous
                | Refusal::UnknownUser
                | Refusal::WrongPassword
                | Refusal::NoUserName
                | Refusal::NoCertificate
                | Refusal::ClientIdPrefix
                | Refusal::AnotherUsersSession => "disconnected, not authorised",
                _ => "disconnected, connection refused",
            };
            Some(format!(
                "Client {} {word}: {} ({}, {user})",
                client(who),
                words::refused(*why),
                peer(who.address)
            ))
        }
        Happening::Unaccepted { address, why } => {
            let address = peer(*address);
            Some(match why {
                Unaccepted::Violation(violation) => format!(
                    "Client <unknown> disconnected due to {}: {violation} ({address})",
                    kind(violation)
                ),
                Unaccepted::Lost(cause) => format!(
                    "Client <unknown> closed its connection: before CONNECT was complete, {} ({address})",
                    words::closed(*cause)
                ),
            })
        }
        Happening::Ended { who, how } => Some(ended(who, how)),
        _ => None,
    }
}

/// Mosquitto's line for a connection that has said nothing yet. `port`: that of the listener; a unix socket has none.
pub fn accepted(address: SocketAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => format!("New connection from {} on port {port}.", peer(address)),
        None => format!("New connection from {}.", peer(address)),
    }
}

fn client(who: &Identity) -> String {
    match &*who.client_id {
        "" => "<unknown>".to_owned(),
        client_id => Shown(client_id).to_string(),
    }
}

fn kind(violation: &Violation) -> &'static str {
    match violation {
        Violation::Malformed(_) => "malformed packet",
        _ => "protocol error",
    }
}

fn ended(who: &Identity, how: &ConnectionEnd) -> String {
    let (client, address) = (client(who), peer(who.address));
    match how {
        ConnectionEnd::Disconnected { .. } => format!("Client {client} disconnected."),
        ConnectionEnd::Lost(CloseCause::PeerClosed | CloseCause::Reset) => {
            format!("Client {client} closed its connection.")
        }
        ConnectionEnd::Lost(cause) => format!(
            "Socket error on client {client}, disconnecting: {} ({address})",
            words::closed(*cause)
        ),
        ConnectionEnd::Violation {
            violation: violation @ Violation::KeepAlive(_),
            ..
        } => {
            format!("Client {client} has exceeded timeout, disconnecting: {violation} ({address})")
        }
        ConnectionEnd::Violation { violation, filter } => {
            let filter = match filter {
                Some(filter) => format!("{}: ", Shown(filter)),
                None => String::new(),
            };
            format!(
                "Client {client} disconnected due to {}: {filter}{violation} ({address})",
                kind(violation)
            )
        }
        ConnectionEnd::TakenOver => {
            format!("Client {client} already connected, closing old connection.")
        }
        ConnectionEnd::UserGone => format!(
            "Client {client} disconnected, not authorised: its user is gone from the password file ({address})"
        ),
        ConnectionEnd::LoginNeeded => format!(
            "Client {client} disconnected, not authorised: it came without a login, and one is needed now ({address})"
        ),
        // Mosquitto's words for what its $CONTROL does.
        ConnectionEnd::SentAway => {
            format!("Client {client} been disconnected by administrative action.")
        }
        ConnectionEnd::Shutdown => format!("Client {client} disconnected: the broker stops."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(client_id: &str, user_name: Option<&str>) -> Identity {
        Identity {
            client_id: client_id.into(),
            user_name: user_name.map(Into::into),
            address: ([192, 0, 2, 7], 4711).into(),
        }
    }

    /// What people search for, as 2.0.11 writes it.
    #[test]
    fn lines_have_mosquittos_words() {
        let connected = |user_name, version, session| Happening::Connected {
            who: who("lamp", user_name),
            version,
            session,
            keep_alive_s: 60,
        };
        let refused = |why| Happening::Refused {
            who: who("lamp", Some("alice")),
            why,
        };
        let ended = |how| Happening::Ended {
            who: who("lamp", None),
            how,
        };
        for (happening, line) in [
            (
                connected(None, Version::V311, SessionBegin::Clean),
                "New client connected from 192.0.2.7:4711 as lamp (p2, c1, k60).",
            ),
            (
                connected(Some("alice"), Version::V5, SessionBegin::Resumed),
                "New client connected from 192.0.2.7:4711 as lamp (p5, c0, k60, u'alice').",
            ),
            (
                refused(Refusal::WrongPassword),
                "Client lamp disconnected, not authorised",
            ),
            (
                refused(Refusal::Stopping),
                "Client lamp disconnected, connection refused",
            ),
            (
                Happening::Unaccepted {
                    address: ([192, 0, 2, 7], 4711).into(),
                    why: Unaccepted::Violation(Violation::FirstPacketNotConnect),
                },
                "Client <unknown> disconnected due to protocol error",
            ),
            (
                ended(ConnectionEnd::Disconnected { with_will: false }),
                "Client lamp disconnected.",
            ),
            (
                ended(ConnectionEnd::Lost(CloseCause::PeerClosed)),
                "Client lamp closed its connection.",
            ),
            (
                ended(ConnectionEnd::Violation {
                    violation: Violation::KeepAlive(90_000),
                    filter: None,
                }),
                "Client lamp has exceeded timeout, disconnecting",
            ),
            (
                ended(ConnectionEnd::TakenOver),
                "Client lamp already connected, closing old connection.",
            ),
        ] {
            let text = sentence(&happening).expect("Mosquitto has a line");
            assert!(text.starts_with(line), "{text}");
        }
        let address = ([192, 0, 2, 7], 4711).into();
        let text = "New connection from 192.0.2.7:4711 on port 1883.";
        assert_eq!(accepted(address, Some(1883)), text);
        assert_eq!(
            accepted(crate::broker::UNIX_PEER, None),
            "New connection from unix socket."
        );
        let expired = Happening::SessionExpired {
            client_id: "lamp".into(),
            messages: 0,
        };
        assert_eq!(sentence(&expired), None);
    }
}
