//! What to do about what a device had trouble with: for `mqttfast doctor --client` and the page.
//!
//! Commands are told with the names that are known, ready to be typed. Names are a peer's own choice: what a shell
//! could read as anything but one word is quoted, or its place stays open.

use crate::acl::Cause;
use crate::broker::{
    BridgeChange, CloseCause, ConnectionEnd, Denied, Happening, Refusal, Unaccepted,
};
use crate::language::Language;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// One sentence. `None`: nothing is to be done. `passwd`: the password file, if all listeners have the same.
pub fn of(happening: &Happening, passwd: Option<&Path>, language: Language) -> Option<String> {
    let sentence = said(open(happening)?, language);
    let (client_id, user_name) = match happening {
        Happening::Refused { who, .. } | Happening::Ended { who, .. } => {
            (Some(&who.client_id), who.user_name.as_ref())
        }
        Happening::Denied {
            client_id,
            user_name,
            ..
        } => (Some(client_id), user_name.as_ref()),
        _ => (None, None),
    };
    let client_id = client_id.and_then(|name| word(name));
    let user_name = user_name.and_then(|name| word(name));
    let mut known = Vec::new();
    if let Some(file) = passwd.and_then(|path| word(path.to_str()?)) {
        known.extend(["FILE", "FICHIER"].map(|open| (open, file.clone())));
    }
    let name = match happening {
        Happening::Bridge { name, .. } => word(name),
        _ => user_name.clone(),
    };
    if let Some(name) = name {
        known.extend(["NAME", "NOM"].map(|open| (open, name.clone())));
    }
    if let Some(client) = &client_id {
        known.push(("CLIENT", client.clone()));
    }
    if let Happening::Denied { topic, .. } = happening
        && let (Some(client), Some(topic)) = (client_id, word(topic))
    {
        let user = user_name.map_or_else(String::new, |user| format!(" --user {user}"));
        // As the sentence has it: in quotes.
        for open in ["publish`", "subscribe`"] {
            let what = open.trim_end_matches('`');
            let command = [what, &user, " --client ", &client, " --topic ", &topic, "`"];
            known.push((open, command.concat()));
        }
    }
    Some(filled(&sentence, &known))
}

/// A sentence with what stands for its open places. One look from left to right: a name that looks like an open place
/// itself stays what it is.
fn filled(sentence: &str, known: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = sentence;
    while let Some(first) = rest.chars().next() {
        let found = known.iter().find(|(open, _)| rest.starts_with(open));
        rest = match found {
            Some((open, value)) => {
                text += value;
                &rest[open.len()..]
            }
            None => {
                text.push(first);
                &rest[first.len_utf8()..]
            }
        };
    }
    text
}

/// One word of a command line. `None`: a shell, or who reads it, could take it for something else.
fn word(name: &str) -> Option<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "_./:@%+=,-".contains(c);
    let is_harmless = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    match name {
        "" => None,
        name if name.starts_with('-') || name.len() > WORD_BYTES_MAX => None,
        name if name.chars().all(is_plain) => Some(name.to_owned()),
        name if name.contains(['\'', '`']) || !name.chars().all(is_harmless) => None,
        name => Some(format!("'{name}'")),
    }
}

/// Of a name in a command.
const WORD_BYTES_MAX: usize = 256;

/// In a language. There are a few dozen of these sentences, and to find a translation takes a look at all there are.
fn said(english: &'static str, language: Language) -> String {
    static FOUND: Mutex<BTreeMap<&str, String>> = Mutex::new(BTreeMap::new());
    if language == Language::English {
        return english.to_owned();
    }
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let text = found
        .entry(english)
        .or_insert_with(|| language.say(english).into_owned());
    text.clone()
}

/// The sentence, with open places in capitals.
fn open(happening: &Happening) -> Option<&'static str> {
    Some(match happening {
        Happening::Refused { why, .. } => of_refusal(*why)?,
        Happening::Unaccepted { why, .. } => match why {
            Unaccepted::Violation(_) => {
                "it does not speak MQTT here as this listener wants it: check the port, and whether TLS or WebSockets are meant"
            }
            Unaccepted::Lost(_) => {
                "the connection broke before the device had said who it is: check its network, and whether it wants TLS here"
            }
        },
        Happening::Denied { cause, what, .. } => match (cause, what) {
            (Cause::SysIsTheBrokers | Cause::ControlIsTheBrokers, _) => {
                "choose another topic: this one is the broker's own"
            }
            (_, Denied::Subscribe { .. }) => {
                "ask with `mqttfast explain subscribe`, which says what to write into the ACL file"
            }
            _ => "ask with `mqttfast explain publish`, which says what to write into the ACL file",
        },
        Happening::FiltersRefused { .. } => {
            "let the device subscribe to fewer filters, or to valid ones"
        }
        Happening::Bridge {
            change: BridgeChange::Down | BridgeChange::Refused,
            ..
        } => "`mqttfast bridge test NAME` tries the other broker step by step",
        Happening::Bridge {
            change: BridgeChange::Loop,
            ..
        } => "let only one of the two brokers bridge these topics, or in one direction",
        Happening::RepeatedTakeovers { .. } => "two devices have one client id: give each its own",
        Happening::Ended { how, .. } => match how {
            ConnectionEnd::Lost(CloseCause::TimedOut) => {
                "the device has lost its network or its power without a word"
            }
            ConnectionEnd::Lost(_) => {
                "the device or something on the way closed the connection: look at its own log, its power and its Wi-Fi"
            }
            ConnectionEnd::TakenOver => {
                "another connection came with its client id: if these are two devices, give each its own"
            }
            ConnectionEnd::UserGone => "add the user again: mqttfast passwd FILE NAME, and reload",
            ConnectionEnd::LoginNeeded => "give the device a user name and its password",
            ConnectionEnd::Violation { .. } => {
                "the device breaks a rule of MQTT, or of its keep alive: look for a newer version of its program"
            }
            ConnectionEnd::Disconnected { .. }
            | ConnectionEnd::SentAway
            | ConnectionEnd::Shutdown => return None,
        },
        _ => return None,
    })
}

fn of_refusal(why: Refusal) -> Option<&'static str> {
    Some(match why {
        Refusal::UnknownUser => {
            "correct the user name on the device, or add the user: mqttfast passwd FILE NAME, and reload"
        }
        Refusal::WrongPassword => {
            "correct the password on the device, or set it anew: mqttfast passwd FILE NAME, and reload"
        }
        Refusal::Anonymous => "give the device a user name and its password",
        Refusal::AnotherUsersSession => {
            "give the device a client id of its own, or end the old session: mqttfast sessions rm CLIENT"
        }
        Refusal::ConnectionsMax | Refusal::ClientsMax => {
            "raise the limit that is named, or look for devices that connect again and again: mqttfast clients"
        }
        Refusal::VersionNotServed | Refusal::AuthenticationMethod => {
            "set the device to another version of MQTT, or to a plain login"
        }
        Refusal::EmptyClientId | Refusal::NoClientId | Refusal::ClientIdPrefix => {
            "give the device a client id as it is wanted here"
        }
        Refusal::NoCertificate | Refusal::NoUserName => {
            "give the device a certificate with its name, or a user name"
        }
        Refusal::KeepAlive => "set a shorter keep alive on the device, and not 0",
        Refusal::WillQos
        | Refusal::WillRetain
        | Refusal::WillTooLarge
        | Refusal::AnswerTooLarge => "change the will of the device, or the limit that is named",
        Refusal::OverShare => "look who holds the memory: mqttfast status",
        Refusal::NoRoomForCheck | Refusal::ChecksWaiting => {
            "many log in at a time: the device may try again in a while"
        }
        Refusal::Stopping => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Identity;

    fn refused(client_id: &str, user: &str, why: Refusal) -> Happening {
        Happening::Refused {
            who: Identity {
                client_id: client_id.into(),
                user_name: Some(user.into()),
                address: ([192, 0, 2, 7], 1).into(),
            },
            why,
        }
    }

    #[test]
    fn commands_have_the_names_that_are_known_and_do_nothing_else_in_a_shell() {
        let file = Path::new("/etc/mqttfast/passwd");
        let told = |user: &str, passwd, language| {
            let happening = refused("lamp", user, Refusal::UnknownUser);
            let text = of(&happening, passwd, language).unwrap();
            text.split_once(": ").unwrap().1.to_owned()
        };
        let english = |user, passwd| told(user, passwd, Language::English);
        assert_eq!(
            english("ann", Some(file)),
            "mqttfast passwd /etc/mqttfast/passwd ann, and reload"
        );
        assert_eq!(english("ann", None), "mqttfast passwd FILE ann, and reload");
        let names = [
            ("a b", "'a b'"),
            ("a;reboot", "'a;reboot'"),
            ("$(reboot)", "'$(reboot)'"),
            ("été", "été"),
            ("a'b", "NAME"),
            ("`x`", "NAME"),
            ("-rf", "NAME"),
            ("a\nb", "NAME"),
            ("a\u{202e}b", "NAME"),
            ("", "NAME"),
        ];
        for (user, shown) in names {
            let wanted = format!("mqttfast passwd FILE {shown}, and reload");
            assert_eq!(english(user, None), wanted);
        }
        let french = told("ann", Some(file), Language::French);
        assert!(
            french.contains("mqttfast passwd /etc/mqttfast/passwd ann, et "),
            "{french}"
        );
        let session = refused(
            "sessions rm CLIENT FILE",
            "NAME CLIENT",
            Refusal::UnknownUser,
        );
        let text = of(&session, Some(file), Language::English).unwrap();
        assert!(text.ends_with("passwd /etc/mqttfast/passwd 'NAME CLIENT', and reload"));
        let session = refused("lamp", "ann", Refusal::AnotherUsersSession);
        let text = of(&session, None, Language::French).unwrap();
        assert!(text.ends_with("mqttfast sessions rm lamp"), "{text}");
    }
}
