//! Where the page is shown.

use crate::ids::ListenerId;
use crate::io::link::tls::server::Server;
use std::net::TcpListener;
use std::sync::Arc;

/// One listener of the page.
pub struct Site {
    /// Whose users log in, and whose rules hold.
    pub listener: ListenerId,
    /// Where it takes connections.
    pub sockets: Vec<TcpListener>,
    /// `None`: without TLS.
    pub tls: Option<Arc<Server>>,
    /// Who asks must log in.
    pub login: bool,
    /// Who has no name may publish, as by MQTT.
    pub anonymous: bool,
}

impl Site {
    /// A line of the log for each of its sockets.
    pub fn lines(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let login = if self.login { ", for who logs in" } else { "" };
        let addresses = self
            .sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok());
        addresses
            .map(|address| format!("page on {scheme}://{address}/{login}"))
            .collect()
    }
}
