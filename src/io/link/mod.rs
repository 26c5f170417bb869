//! A Network Connection as the driver holds it: its socket, whose it is, and by which listener it came.

use crate::ids::ListenerId;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// The socket of a Network Connection and what belongs to it. A hand-over between shards moves it whole.
#[derive(Debug)]
pub struct Link {
    pub socket: TcpStream,
    /// The peer's.
    pub address: SocketAddr,
    /// By which it came.
    pub listener: ListenerId,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
