//! One direction of a connection.

/// Bytes on their way, taken from the front.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    taken: usize,
}

impl Stream {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn extend(&mut self, bytes: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(bytes.as_ref());
    }

    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.rest()[..count].to_vec();
        self.taken += count;
        if self.is_empty() {
            *self = Stream::default();
        }
        bytes
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}
