//! Every interleaving of a small case. At each point one lane delivers one message or one script takes its next step;
//! the search goes through all choices by starting again from the beginning with the next one (the shards are
//! deterministic).
//!
//! Two choices that concern different shards commute: one takes the head of a lane that the other at most
//! appends to. Of the orders that differ only by such swaps one is enough, which sleep sets see to (Godefroid).

use super::acts::Acts;
use super::oracle::Packet;
use super::packets::Version;
use super::stage::{Client, Stage};
use super::world::World;
use mqttfast::broker::CloseCause;

type Condition = Box<dyn Fn(&World) -> bool>;

/// One thing a Client does.
pub enum Act {
    Send(Client, Vec<u8>),
    /// The connection ends without a word.
    Cut(Client),
}

impl Act {
    fn client(&self) -> Client {
        match self {
            Act::Send(client, _) | Act::Cut(client) => *client,
        }
    }
}

/// Something that happens once `when` holds. A condition that has become true stays true.
pub struct Step {
    when: Option<Condition>,
    act: Act,
}

pub fn send(client: Client, bytes: Vec<u8>) -> Step {
    Step {
        when: None,
        act: Act::Send(client, bytes),
    }
}

pub fn cut(client: Client) -> Step {
    Step {
        when: None,
        act: Act::Cut(client),
    }
}

impl Step {
    /// Not before `client` has received `count` packets that `pick` likes.
    pub fn after(mut self, client: Client, count: usize, pick: fn(&Packet) -> bool) -> Step {
        self.when = Some(Box::new(move |world| {
            world
                .history(client)
                .iter()
                .filter(|packet| pick(packet))
                .count()
                >= count
        }));
        self
    }
}

pub fn is_suback(packet: &Packet) -> bool {
    matches!(packet, Packet::SubAck { .. })
}

pub fn is_unsuback(packet: &Packet) -> bool {
    matches!(packet, Packet::UnsubAck { .. })
}

pub fn is_puback(packet: &Packet) -> bool {
    matches!(packet, Packet::PubAck { .. })
}

pub fn is_connack(packet: &Packet) -> bool {
    matches!(packet, Packet::ConnAck { .. })
}

/// What several Clients do, each script in its order.
pub type Scripts = Vec<Vec<Step>>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Lane(usize, usize),
    Script(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Choice {
    what: What,
    /// The shard it concerns.
    shard: usize,
}

struct Node {
    current: Choice,
    options: Vec<Choice>,
    tried: Vec<Choice>,
    asleep: Vec<Choice>,
}

impl Node {
    fn next(&self) -> Option<Choice> {
        let blocked =
            |choice: &&Choice| !self.tried.contains(choice) && !self.asleep.contains(choice);
        self.options.iter().find(blocked).copied()
    }
}

/// Runs `start` and then its scripts in every order, each to the end, and `check` after each. The state `start` leaves
/// behind must be at rest. Returns the number of orders; panics beyond `orders_max`, a sign of too large a case.
pub fn explore<S>(
    version: Version,
    orders_max: usize,
    start: impl Fn(Version) -> (World, Scripts, S),
    check: impl Fn(&mut World, S),
) -> usize {
    let mut stack: Vec<Node> = Vec::new();
    let mut orders = 0;
    loop {
        let (mut world, scripts, state) = start(version);
        world.settle();
        world.lanes_held = true;
        let mut positions = vec![0; scripts.len()];
        let mut depth = 0;
        let complete = loop {
            let options = options(&world, &scripts, &positions);
            if options.is_empty() {
                break true;
            }
            if depth == stack.len() {
                let asleep = stack.last().map_or(Vec::new(), |parent| {
                    let before = parent.asleep.iter().chain(&parent.tried);
                    before
                        .filter(|choice| choice.shard != parent.current.shard)
                        .copied()
                        .collect()
                });
                let mut node = Node {
                    current: options[0],
                    options,
                    tried: Vec::new(),
                    asleep,
                };
                match node.next() {
                    Some(choice) => node.current = choice,
                    // Whatever follows was seen in another order.
                    None => break false,
                }
                stack.push(node);
            }
            let choice = stack[depth].current;
            depth += 1;
            match choice.what {
                What::Lane(from, to) => world.deliver(from, to),
                What::Script(script) => {
                    let step = &scripts[script][positions[script]];
                    positions[script] += 1;
                    match &step.act {
                        Act::Send(client, bytes) => world.send(*client, bytes),
                        Act::Cut(client) => {
                            world.cut(*client, CloseCause::Reset);
                            world.settle();
                        }
                    }
                }
            }
        };
        if complete {
            let done = positions
                .iter()
                .zip(&scripts)
                .all(|(position, script)| *position == script.len());
            if !done {
                print_order(&stack);
                panic!("a step whose condition never came true; scripts stand at {positions:?}");
            }
            orders += 1;
            assert!(
                orders <= orders_max,
                "more than {orders_max} orders: make the case smaller"
            );
            world.lanes_held = false;
            let failed =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&mut world, state)));
            if let Err(cause) = failed {
                print_order(&stack);
                std::panic::resume_unwind(cause);
            }
        }
        loop {
            let Some(top) = stack.last_mut() else {
                return orders;
            };
            top.tried.push(top.current);
            match top.next() {
                Some(choice) => {
                    top.current = choice;
                    break;
                }
                None => {
                    stack.pop();
                }
            }
        }
    }
}

fn print_order(stack: &[Node]) {
    let order: Vec<What> = stack.iter().map(|node| node.current.what).collect();
    println!("in the order {order:?}");
}

fn options(world: &World, scripts: &Scripts, positions: &[usize]) -> Vec<Choice> {
    let mut options = Vec::new();
    for (index, script) in scripts.iter().enumerate() {
        let Some(step) = script.get(positions[index]) else {
            continue;
        };
        if step.when.as_ref().is_some_and(|when| !when(world)) {
            continue;
        }
        // What a Client does while its socket is in a lane concerns the shard it goes to. On a closed connection a
        // step does nothing, at no shard in particular.
        let shard = world.next_place(step.act.client()).unwrap_or(0);
        options.push(Choice {
            what: What::Script(index),
            shard,
        });
    }
    for (from, to) in world.lanes_ready() {
        options.push(Choice {
            what: What::Lane(from, to),
            shard: to,
        });
    }
    options
}
