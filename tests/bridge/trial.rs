//! `mqttfast bridge test`.

use super::live::{Broker, Kind, bridge};
use mqttfast_rig::process::certificates::certificates;
use mqttfast_rig::process::packet::Connect;
use mqttfast_rig::process::{Client, Folder, free_port, program};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// The exit code and what is said, on a configuration with these lines.
fn tried(lines: &str, name: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let file = folder.path("edge.conf");
    fs::write(&file, lines).unwrap();
    let output = Command::new(program())
        .args(["bridge", "test", name, "-c"])
        .arg(&file)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// All is well at Mosquitto and at mqttfast, in every version: each step is told, nothing is published, the bridge that
/// runs goes on, and no Session stays.
#[test]
fn a_sound_bridge_is_tried_and_not_disturbed() {
    for (kind, version) in [
        (Kind::Mosquitto, "mqttv31"),
        (Kind::Mosquitto, "mqttv311"),
        (Kind::Mqttfast, "mqttv50"),
    ] {
        let mut core = Broker::new(kind);
        core.start("");
        let connect = Connect {
            client_id: b"watcher",
            ..Connect::default()
        };
        let mut watcher = Client::connect_at(core.port, &connect);
        watcher.subscribe("#", 1);
        watcher.subscribe("$SYS/broker/connection/#", 1);
        // The bridge that runs.
        let own = Connect {
            client_id: b"edge",
            ..Connect::default()
        };
        let mut running = Client::connect_at(core.port, &own);
        let lines = bridge(
            &core,
            &format!(
                "topic a/# out 1\ntopic b/# in 2\ntopic c/# both 1 here/ there/\nbridge_protocol_version {version}\n"
            ),
        );
        let (code, text) = tried(&lines, "edge");
        assert_eq!(code, Some(0), "{text}");
        for said in [
            "connected to 127.0.0.1",
            "logged in as edge-test by MQTT",
            "may subscribe to b/# (QoS 2)",
            "may subscribe to there/c/# (QoS 1)",
            " ms  ",
        ] {
            assert!(text.contains(said), "{said} in {text}");
        }
        assert!(!text.contains("failed"), "{text}");
        running.publish("b/x", b"still there", 1, false);
        let heard = watcher.receive();
        assert_eq!(
            (&*heard.topic, &*heard.payload),
            ("b/x", &b"still there"[..])
        );
        watcher.expect_silence(Duration::from_millis(200));
    }
}

/// What fails, and what is said to do.
#[test]
fn what_fails_is_named_with_its_remedy() {
    let nobody = free_port();
    let mut core = Broker::new(Kind::Mosquitto);
    let users = Folder::new();
    let made = Command::new(program())
        .args(["passwd", "-c", "-b"])
        .arg(users.path("passwd"))
        .args(["edge", "secret"])
        .status();
    assert!(made.unwrap().success());
    core.start(&format!(
        "allow_anonymous false\npassword_file {}\n",
        users.path("passwd").display()
    ));
    let at = |address: &str, more: &str| {
        format!("connection edge\naddress {address}\nremote_clientid edge\ntopic b/# in 1\n{more}")
    };
    let here = format!("127.0.0.1:{}", core.port);
    for (lines, code, said) in [
        (
            at(&format!("127.0.0.1:{nobody}"), ""),
            1,
            "no connection to 127.0.0.1",
        ),
        (
            at("nowhere.invalid:1883", ""),
            1,
            "nowhere.invalid:1883 cannot be looked up",
        ),
        (at(&here, ""), 1, "set remote_username and remote_password"),
        (
            at(&here, "remote_username edge\nremote_password wrong\n"),
            1,
            "set remote_username and remote_password",
        ),
        (
            at(&here, "remote_username edge\nremote_password secret\n"),
            0,
            "may subscribe to b/# (QoS 1)",
        ),
        (
            at(
                &here,
                &format!(
                    "bridge_cafile {}\n",
                    certificates().join("ca.crt").display()
                ),
            ),
            1,
            "is that the port for TLS?",
        ),
        (
            at("127.0.0.1:1", "").replace("edge\naddress", "other\naddress"),
            2,
            "its bridges are other",
        ),
        (
            "listener 1883\n".to_owned(),
            2,
            "it has no `connection` line",
        ),
        (
            "connection edge\n".to_owned(),
            3,
            "the bridge `edge` has no",
        ),
    ] {
        let (exit, text) = tried(&lines, "edge");
        assert_eq!(exit, Some(code), "{text}");
        assert!(text.contains(said), "{said} in {text}");
    }
    // Two addresses, of which the second is good.
    let lines = at(
        &format!("127.0.0.1:{nobody} {here}"),
        "remote_username edge\nremote_password secret\n",
    );
    let (code, text) = tried(&lines, "edge");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("address 2 of 2") && text.contains("logged in as edge-test"),
        "{text}"
    );
}

/// A filter that the ACL over there gives nothing of, and a certificate that is not believed.
#[test]
fn refusals_and_certificates_are_told() {
    let rules = Folder::new();
    fs::write(rules.path("acl"), "topic read a/#\n").unwrap();
    let mut core = Broker::new(Kind::Mqttfast);
    let folder = certificates();
    let at = |name: &str| folder.join(name).display().to_string();
    core.start(&format!(
        "acl_file {}\ncertfile {}.crt\nkeyfile {}.key\n",
        rules.path("acl").display(),
        at("ec"),
        at("ec")
    ));
    let lines = |ca: &str| {
        format!(
            "connection edge\naddress localhost:{}\nremote_clientid edge\ntopic a/# in 1\ntopic b/# in 1\nbridge_cafile {}\n",
            core.port,
            at(ca)
        )
    };
    let (code, text) = tried(&lines("ca.crt"), "edge");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("looked up localhost"), "{text}");
    assert!(
        text.contains("TLS is agreed, and its certificate is believed"),
        "{text}"
    );
    let (code, text) = tried(&lines("foreign-ca.crt"), "edge");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("by bridge_cafile"), "{text}");
}
