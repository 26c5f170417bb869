//! What to do about what a device had trouble with: for `mqttfast doctor --client`.

use crate::acl::Cause;
use crate::broker::{
    BridgeChange, CloseCause, ConnectionEnd, Denied, Happening, Refusal, Unaccepted,
};

/// Of a client id that is taken over again and again.
pub const ONE_ID_EACH: &str = "two devices have one client id: give each its own";

/// One sentence. `None`: nothing is to be done.
pub fn of(happening: &Happening) -> Option<&'static str> {
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
        Happening::RepeatedTakeovers { .. } => ONE_ID_EACH,
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
