//! Bridges: can the other broker be reached, does it take the login, and how long are the certificates good? By the
//! steps of `mqttfast bridge test`, which publishes nothing and disturbs no bridge that runs.

use super::Finding;
use crate::bridge::Terms;
use crate::config::Config;
use crate::config::mosquitto::Bridge;
use crate::io::console::shown;
use crate::io::helpers::bridge::{host_name, trial, words};
use crate::io::link::tls::look::Certificate;
use crate::io::link::tls::terms::days_left;
use crate::limits;
use std::path::Path;
use std::thread;

/// All of them at a time, as one that is not reached takes seconds.
pub fn look(config: &Config, now_s: i64, found: &mut Vec<Finding>) {
    let bridges: Vec<&Bridge> = config.bridges.iter().take(limits::BRIDGES_MAX).collect();
    let host = host_name();
    let tried: Vec<Vec<Finding>> = thread::scope(|scope| {
        let begun: Vec<_> = bridges
            .iter()
            .map(|bridge| scope.spawn(|| reach(bridge, &host)))
            .collect();
        let ended = begun.into_iter();
        // One that panics has found nothing, and its panic is told.
        ended
            .map(|thread| thread.join().unwrap_or_default())
            .collect()
    });
    for (bridge, findings) in bridges.into_iter().zip(tried) {
        found.extend(findings);
        certificates(bridge, now_s, found);
    }
}

/// Tries each address.
fn reach(bridge: &Bridge, host: &str) -> Vec<Finding> {
    let terms = Terms::new(bridge, host);
    let name = shown::whole(&bridge.name);
    let mut failed = Vec::new();
    let mut reached = Vec::new();
    for index in 0..bridge.addresses.len() {
        let address = words::address(&terms, index);
        let mut why = Vec::new();
        let good = trial::attempt(&terms, index, &mut |step| {
            if !step.good {
                why.push(step.text);
            }
        });
        match good {
            true => reached.push(address),
            false => failed.push((address, why)),
        }
    }
    let mut findings = Vec::new();
    for (address, why) in failed {
        for why in why {
            let text = format!("bridge {name}: {address}: {why}");
            // Another address may do.
            let finding = match reached.is_empty() {
                true => {
                    Finding::fault(text).why("its messages do not cross; those of QoS 1 and 2 wait")
                }
                false => Finding::warning(text).why("the bridge has one address less to go to"),
            };
            let file = &bridge.place.file;
            findings.push(finding.mend(format!("mqttfast bridge test {name} -c {file}")));
        }
    }
    for address in reached {
        findings.push(Finding::fine(format!(
            "bridge {name}: {address} is reached, and takes its login"
        )));
    }
    findings
}

/// What the bridge shows to the other broker, and what it believes it by.
fn certificates(bridge: &Bridge, now_s: i64, found: &mut Vec<Finding>) {
    let Some(tls) = &bridge.tls else {
        return;
    };
    let name = shown::whole(&bridge.name);
    for file in [&tls.certificate, &tls.ca_file].into_iter().flatten() {
        if let Some(text) = dates(&file.value, now_s) {
            found.push(
                Finding::warning(format!("bridge {name}: {text}"))
                    .why("without a valid certificate the two brokers do not believe each other")
                    .mend(
                        "put a new certificate there, and reload: sudo systemctl reload mqttfast",
                    ),
            );
        }
    }
}

fn dates(path: &Path, now_s: i64) -> Option<String> {
    let certificate = Certificate::read(path)?;
    let file = path.display();
    if now_s < certificate.not_before {
        return Some(format!("the certificate {file} is not valid yet"));
    }
    match days_left(certificate.not_after, now_s) {
        ..0 => Some(format!("the certificate {file} has expired")),
        days if days < limits::TLS_EXPIRY_WARNING_DAYS => {
            Some(format!("the certificate {file} ends in {days} days"))
        }
        _ => None,
    }
}
