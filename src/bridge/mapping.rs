//! Topic Names on both sides of a bridge.
//!
//! A line `topic FILTER DIRECTION QOS LOCAL REMOTE` stands for two Topic Filters, `LOCAL FILTER` here and
//! `REMOTE FILTER` there, joined without a `/`. A message that matches one of them has the other prefix on the other
//! side: with `topic t/# both 1 loc/ rem/`, `loc/t/a` here is `rem/t/a` there. The first line that matches decides.
//! `O(lines × levels)` a message.

use crate::config::mosquitto::{BridgeTopic, Direction};
use crate::wire::topic::matches;
use crate::wire::{QoS, TopicName};
use std::collections::BTreeMap;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From this broker to the other one.
    Out,
    /// From the other broker to this one.
    In,
}

/// The lines of one bridge.
#[derive(Clone, Debug)]
pub struct Mapping {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    out: bool,
    comes_in: bool,
    qos: QoS,
    /// Prefix and whole filter here.
    local: Half,
    remote: Half,
}

#[derive(Clone, Debug)]
struct Half {
    prefix: Box<str>,
    filter: Box<str>,
}

impl Half {
    fn new(prefix: &str, filter: &str) -> Half {
        Half {
            prefix: prefix.into(),
            filter: format!("{prefix}{filter}").into(),
        }
    }
}

impl Line {
    /// Where messages of this way come from, and where they go; `None`: it does not map them.
    fn halves(&self, way: Way) -> Option<(&Half, &Half)> {
        match way {
            Way::Out => self.out.then_some((&self.local, &self.remote)),
            Way::In => self.comes_in.then_some((&self.remote, &self.local)),
        }
    }
}

impl Mapping {
    /// Of the `topic` lines, in their order.
    pub fn new(topics: &[BridgeTopic]) -> Mapping {
        let line = |topic: &BridgeTopic| Line {
            out: topic.direction != Direction::In,
            comes_in: topic.direction != Direction::Out,
            qos: QoS::from_bits(topic.qos).unwrap_or_default(),
            local: Half::new(&topic.local_prefix, &topic.filter),
            remote: Half::new(&topic.remote_prefix, &topic.filter),
        };
        Mapping {
            lines: topics.iter().map(line).collect(),
        }
    }

    /// Writes the other side's name of `topic` into `name`. Gives the number of the line that maps it; `None`: no line
    /// does, or what it makes is no Topic Name.
    pub fn map(&self, way: Way, topic: &str, name: &mut String) -> Option<usize> {
        let mut lines = self.lines.iter().enumerate();
        let (index, from, to) = lines.find_map(|(index, line)| {
            let (from, to) = line.halves(way)?;
            matches(&from.filter, topic).then_some((index, from, to))
        })?;
        name.clear();
        name.push_str(&to.prefix);
        // A prefix has no wildcards, so what matches begins with it.
        name.push_str(topic.strip_prefix(&*from.prefix)?);
        TopicName::new(name).ok().map(|_| index)
    }

    /// What is subscribed to on the side that messages of this way come from: each filter once, with the highest QoS.
    pub fn filters(&self, way: Way) -> BTreeMap<&str, QoS> {
        let mut filters = BTreeMap::new();
        for line in &self.lines {
            if let Some((from, _)) = line.halves(way) {
                let qos = filters.entry(&*from.filter).or_insert(line.qos);
                *qos = (*qos).max(line.qos);
            }
        }
        filters
    }

    /// The filters of what messages of this way become, on the side that they go to.
    pub fn targets(&self, way: Way) -> Vec<&str> {
        let halves = self.lines.iter().filter_map(|line| line.halves(way));
        let mut filters: Vec<&str> = halves.map(|(_, to)| &*to.filter).collect();
        filters.sort_unstable();
        filters.dedup();
        filters
    }

    /// The filters that were subscribed to, each with its code in SUBACK; `None`: there are more or fewer codes.
    pub fn answers<'a>(
        &'a self,
        way: Way,
        codes: &'a [u8],
    ) -> Option<impl Iterator<Item = (&'a str, u8)>> {
        let filters = self.filters(way);
        let fits = filters.len() == codes.len();
        fits.then(|| filters.into_keys().zip(codes.iter().copied()))
    }

    /// Filters at the other broker of lines that only go out: what an older configuration may have subscribed to.
    pub fn only_out(&self) -> Vec<&str> {
        let mut filters: Vec<&str> = self
            .lines
            .iter()
            .filter(|line| line.out && !line.comes_in)
            .map(|line| &*line.remote.filter)
            .collect();
        filters.sort_unstable();
        filters.dedup();
        filters
    }

    /// A message could come back by one of these lines, whichever bridge each is of: some goes out, and some comes in.
    pub fn could_loop<'a>(topics: impl IntoIterator<Item = &'a BridgeTopic>) -> bool {
        let (mut out, mut comes_in) = (false, false);
        for topic in topics {
            out |= topic.direction != Direction::In;
            comes_in |= topic.direction != Direction::Out;
        }
        out && comes_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::mosquitto::Place;
    use crate::random::SplitMix64;
    use crate::wire::TopicFilter;

    fn topic(
        filter: &str,
        direction: Direction,
        qos: u8,
        local: &str,
        remote: &str,
    ) -> BridgeTopic {
        BridgeTopic {
            place: Place {
                file: "test".into(),
                line: 1,
            },
            filter: filter.to_owned(),
            direction,
            qos,
            local_prefix: local.to_owned(),
            remote_prefix: remote.to_owned(),
        }
    }

    fn mapped(mapping: &Mapping, way: Way, topic: &str) -> Option<String> {
        let mut name = String::from("left over");
        mapping.map(way, topic, &mut name).map(|_| name)
    }

    /// The table that was seen live on Mosquitto 2.0.11.
    #[test]
    fn each_form_of_a_line() {
        use Direction::{Both, In, Out};
        for (line, out, comes_in) in [
            (("t/#", Out, "", ""), Some(("t/a", "t/a")), None),
            (("t/#", In, "", ""), None, Some(("t/a", "t/a"))),
            (
                ("t/#", Both, "loc/", "rem/"),
                Some(("loc/t/a", "rem/t/a")),
                Some(("rem/t/a", "loc/t/a")),
            ),
            (("t/#", Out, "", "rem/"), Some(("t/a", "rem/t/a")), None),
            (("t/#", Out, "loc/", ""), Some(("loc/t/a", "t/a")), None),
            (
                ("#", Out, "loc/", "rem/"),
                Some(("loc/t/a", "rem/t/a")),
                None,
            ),
            (
                ("", Out, "loc/t/a", "rem/t/a"),
                Some(("loc/t/a", "rem/t/a")),
                None,
            ),
            (
                ("", Both, "t/a", "x/y"),
                Some(("t/a", "x/y")),
                Some(("x/y", "t/a")),
            ),
            (
                ("t/+", Both, "loc", "rem"),
                Some(("loct/a", "remt/a")),
                Some(("remt/a", "loct/a")),
            ),
        ] {
            let (filter, direction, local, remote) = line;
            let mapping = Mapping::new(&[topic(filter, direction, 1, local, remote)]);
            for (way, pair) in [(Way::Out, out), (Way::In, comes_in)] {
                match pair {
                    Some((from, to)) => {
                        assert_eq!(mapped(&mapping, way, from).as_deref(), Some(to), "{line:?}");
                    }
                    None => assert!(mapping.filters(way).is_empty(), "{line:?}"),
                }
                for other in ["u/a", "loc", "$SYS/a"] {
                    assert_eq!(mapped(&mapping, way, other), None, "{line:?} {other}");
                }
            }
        }
    }

    #[test]
    fn what_goes_out_comes_back_under_its_own_name() {
        let mut random = SplitMix64::new(7);
        let parts = ["a", "b/", "loc/", "x/y", "", "rem"];
        let filters = ["#", "+", "t/#", "t/+/u", "t/a", "+/b"];
        let names = ["t/a", "t/a/u", "a/b", "t", "a", "b/t/a", "loc/t/a/u"];
        let mut crossed = 0;
        for _ in 0..20_000 {
            let (local, remote) = (random.pick(&parts), random.pick(&parts));
            let filter = random.pick(&filters);
            let is_filter = |prefix: &str| TopicFilter::new(&format!("{prefix}{filter}")).is_ok();
            if !is_filter(local) || !is_filter(remote) {
                // The configuration has no such line.
                continue;
            }
            let line = topic(filter, Direction::Both, 0, local, remote);
            let mapping = Mapping::new(&[line]);
            let name = format!("{local}{}", random.pick(&names));
            let Some(there) = mapped(&mapping, Way::Out, &name) else {
                continue;
            };
            crossed += 1;
            let (filter, _) = mapping.filters(Way::In).pop_first().unwrap();
            assert!(matches(filter, &there), "{filter} {there}");
            assert_eq!(mapped(&mapping, Way::In, &there), Some(name));
        }
        assert!(crossed > 1000, "{crossed}");
    }

    #[test]
    fn the_first_line_that_matches_decides_and_a_filter_is_asked_for_once() {
        let topics = [
            topic("a/#", Direction::Out, 0, "", "one/"),
            topic("a/b", Direction::Out, 2, "", "two/"),
            topic("a/#", Direction::Both, 1, "", ""),
        ];
        let mapping = Mapping::new(&topics);
        assert_eq!(
            mapped(&mapping, Way::Out, "a/b").as_deref(),
            Some("one/a/b")
        );
        let filters: Vec<_> = mapping.filters(Way::Out).into_iter().collect();
        assert_eq!(
            filters,
            [("a/#", QoS::AtLeastOnce), ("a/b", QoS::ExactlyOnce)]
        );
        assert_eq!(mapping.only_out(), ["one/a/#", "two/a/b"]);
        assert!(Mapping::could_loop(&topics));
        assert!(!Mapping::could_loop(&topics[..2]));
    }

    #[test]
    fn what_is_no_topic_name_crosses_nowhere() {
        let long = "r".repeat(60_000);
        let mapping = Mapping::new(&[topic("#", Direction::Out, 0, "", &long)]);
        assert!(mapped(&mapping, Way::Out, "a").is_some());
        assert_eq!(mapped(&mapping, Way::Out, &"a".repeat(6_000)), None);
    }
}
