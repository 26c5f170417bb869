//! What a layer between a socket and MQTT makes of a stream, however it is cut.

use mqttfast::io::link::Layer;
use mqttfast::limits;

/// What came of a stream.
#[derive(PartialEq, Eq, Debug)]
pub struct Heard {
    pub plain: Vec<u8>,
    pub own: Vec<u8>,
    pub broken: Option<&'static str>,
    pub ended: bool,
}

/// Gives a layer a stream, cut as `cut` says by the place. Its own bytes are taken in the end.
fn hear(mut layer: impl Layer, mut bytes: &[u8], cut: impl Fn(usize) -> usize) -> Heard {
    let mut plain = Vec::new();
    let mut broken = None;
    let mut at = 0;
    while !bytes.is_empty() && broken.is_none() {
        let (first, rest) = bytes.split_at(cut(at).clamp(1, bytes.len()));
        broken = layer.open(first, &mut plain).err().map(|broken| broken.0);
        assert!(layer.kept_bytes() <= 2 * limits::HTTP_REQUEST_BYTES_MOST as usize);
        at += first.len();
        bytes = rest;
    }
    layer.farewell();
    let own = layer.own_bytes().unwrap_or_default();
    assert!(!layer.has_own_bytes());
    Heard {
        plain,
        own: own
            .iter()
            .flat_map(|chunk| chunk.bytes())
            .copied()
            .collect(),
        broken,
        ended: layer.has_ended(),
    }
}

/// The same under cuts of one byte, of the whole, and of what the first byte says.
pub fn every_cut<L: Layer>(layer: impl Fn() -> L, data: &[u8]) -> Heard {
    let whole = hear(layer(), data, |_| usize::MAX);
    assert_eq!(hear(layer(), data, |_| 1), whole);
    let seed = usize::from(data.first().copied().unwrap_or(0));
    assert_eq!(hear(layer(), data, |at| 1 + (at * 31 + seed) % 11), whole);
    whole
}
