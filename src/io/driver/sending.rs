//! How far a send has come.

use crate::buffer::{Chunk, Chunks};

/// Chunks being sent, in as many parts as the kernel likes.
#[derive(Default, Debug)]
pub struct Sending {
    chunks: Chunks,
    /// First chunk not wholly sent, and bytes of it that are.
    chunk: usize,
    chunk_bytes_sent: usize,
}

impl Sending {
    /// `chunks` hold at least one byte.
    pub fn new(chunks: Chunks) -> Sending {
        Sending {
            chunks,
            chunk: 0,
            chunk_bytes_sent: 0,
        }
    }

    /// What is left, at least one byte: its first run, and the chunks after that.
    #[inline]
    pub fn rest(&self) -> (&[u8], &[Chunk]) {
        let first = self.chunks[self.chunk].bytes();
        (
            &first[self.chunk_bytes_sent..],
            &self.chunks[self.chunk + 1..],
        )
    }

    /// Notes that `bytes` more have left. True: that was the rest.
    pub fn advance(&mut self, mut bytes: usize) -> bool {
        while let Some(chunk) = self.chunks.get(self.chunk) {
            let left = chunk.bytes().len() - self.chunk_bytes_sent;
            if bytes < left {
                self.chunk_bytes_sent += bytes;
                return false;
            }
            bytes -= left;
            self.chunk += 1;
            self.chunk_bytes_sent = 0;
        }
        assert!(bytes == 0, "the kernel sends no more than it was given");
        true
    }

    /// Gives the chunks back, sent or not.
    pub fn take(&mut self) -> Chunks {
        std::mem::take(self).chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_of_a_send_sends_every_byte_once() {
        let chunks = || -> Chunks {
            [&b"ab"[..], b"c", b"defg"]
                .map(|bytes| Chunk::Block(bytes.to_vec()))
                .into_iter()
                .collect()
        };
        for step in 1..=7 {
            let mut sending = Sending::new(chunks());
            let mut stream = Vec::new();
            loop {
                let (first, others) = sending.rest();
                let mut rest = first.to_vec();
                others
                    .iter()
                    .for_each(|chunk| rest.extend_from_slice(chunk.bytes()));
                rest.truncate(step);
                stream.extend_from_slice(&rest);
                if sending.advance(rest.len()) {
                    break;
                }
            }
            assert_eq!(stream, b"abcdefg");
            assert_eq!(sending.take().len(), 3);
        }
    }
}
