//! One connection to the page: requests are read, answered, and the next one is read.
//!
//! ```text
//! head ─→ login is checked elsewhere ─→ body ─→ answer, piece by piece ─→ head …
//!   └──── a refusal ──────────────────────────→ its last bytes, and the end
//! ```

use super::answer::{Answer, Body, LAST_CHUNK, Pieces, Step, put_chunk};
use super::errand::Errand;
use super::house::House;
use super::live::Live;
use super::local::Local;
use super::names;
use super::request::{Bad, Credentials, Method, Request, end_of_block};
use super::rights::{CLIENT_ID, Visitor};
use super::route::{self, Act, Place};
use super::site::Site;
use super::stream::Stream;
use crate::broker::{Happening, Identity, Refusal, Verdict};
use crate::io::helpers::patience::Patience;
use crate::io::link::websocket::handshake;
use crate::limits;
use nix::poll::PollFlags;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is under way.
enum State {
    /// A header block comes, or nothing.
    Head,
    /// The password thread looks at the login.
    Checking(Box<Request>, String),
    /// A body comes.
    Body(Box<Request>, Visitor),
    /// The rest of an answer is made as it leaves.
    Answering {
        pieces: Box<dyn Pieces>,
        chunks: bool,
    },
    /// A message goes into the broker.
    Publishing(Box<Errand>, Box<Request>),
    /// A WebSocket is open.
    Live(Box<Live>),
    /// All is said; what the other side still sends is thrown away.
    Lingering,
}

/// See the module.
pub struct Connection {
    /// Tells it from all others.
    pub id: u64,
    stream: Stream,
    /// Where it came in.
    pub site: usize,
    peer: SocketAddr,
    local: IpAddr,
    input: Vec<u8>,
    /// Bytes of `input` in which no end of a header block was found.
    looked_at: usize,
    output: Vec<u8>,
    sent: usize,
    state: State,
    /// When it did something last.
    since: Instant,
    /// What is under way must have gone on by then.
    until: Instant,
    /// Of who reads the answer.
    patience: Patience,
    /// Ends when the answer has left.
    is_last: bool,
    /// The other side sends nothing more.
    ended: bool,
    broken: bool,
}

fn after(now: Instant, ms: u64) -> Instant {
    now + Duration::from_millis(ms)
}

impl Connection {
    pub fn new(
        id: u64,
        site: usize,
        stream: Stream,
        peer: SocketAddr,
        local: IpAddr,
        now: Instant,
    ) -> Connection {
        Connection {
            id,
            stream,
            site,
            peer,
            local,
            input: Vec::new(),
            looked_at: 0,
            output: Vec::new(),
            sent: 0,
            state: State::Head,
            since: now,
            // A request is to come; a handshake of TLS too.
            until: after(now, limits::HTTP_HEAD_MS),
            patience: Patience::default(),
            is_last: false,
            ended: false,
            broken: false,
        }
    }

    /// What it waits for. Nothing: it must not be polled, as a hang-up would be told again and again.
    pub fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::POLLIN, self.wants_input());
        interest.set(
            PollFlags::POLLOUT,
            self.waiting() > 0 || self.stream.wants_write(),
        );
        interest
    }

    /// Its client of this broker, if it has one.
    pub fn local(&mut self) -> Option<&mut Local> {
        match &mut self.state {
            State::Publishing(errand, _) => Some(&mut errand.local),
            State::Live(live) => live.local.as_mut(),
            _ => None,
        }
    }

    /// The socket of that client.
    pub fn local_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Publishing(errand, _) => Some(errand.local.as_fd()),
            State::Live(live) => live.local.as_ref().map(Local::as_fd),
            _ => None,
        }
    }

    /// When it is to be looked at, whatever comes.
    pub fn due(&self) -> Instant {
        let until = self.patience.until();
        let until = until.map_or(self.until, |until| until.min(self.until));
        match &self.state {
            _ if self.is_busy() => self.since,
            // While nothing is unsent, a page may be silent for ever.
            State::Live(live) if self.waiting() == 0 => live.due(),
            State::Live(live) => live.due().min(until),
            _ => until,
        }
    }

    /// It is a WebSocket.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    /// Tells a WebSocket what happens.
    pub fn tell(&mut self, lines: &[String]) {
        let unsent = self.waiting();
        if let State::Live(live) = &mut self.state {
            for line in lines {
                live.tell(line, unsent);
            }
        }
    }

    /// Where it is from.
    pub fn address(&self) -> IpAddr {
        self.peer.ip().to_canonical()
    }

    /// What makes place first, when there are too many: what is idle, then what was heard of longest ago. WebSockets,
    /// of which there are few, come last.
    pub fn rank(&self) -> (bool, bool, Instant) {
        let is_idle = matches!(self.state, State::Head | State::Lingering);
        (self.is_live(), !is_idle, self.since)
    }

    pub fn is_over(&self) -> bool {
        self.broken
    }

    /// Bytes that it holds for the reader of its answer.
    pub fn held_bytes(&self) -> usize {
        let of_pieces = match &self.state {
            State::Answering { pieces, .. } => pieces.held_bytes(),
            _ => 0,
        };
        self.waiting() + of_pieces
    }

    /// Bytes of its answer that are not taken yet.
    fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    fn wants_input(&self) -> bool {
        !self.ended
            && match &self.state {
                State::Head => self.waiting() == 0 && !self.is_last,
                State::Body(..) | State::Lingering => true,
                State::Live(_) => self.waiting() < limits::HTTP_LIVE_UNSENT_BYTES_MAX,
                State::Checking(..) | State::Answering { .. } | State::Publishing(..) => false,
            }
    }

    /// There is something to do without waiting for the other side.
    fn is_busy(&self) -> bool {
        match &self.state {
            State::Answering { .. } => self.waiting() < limits::HTTP_UNSENT_BYTES_MAX,
            State::Head => {
                self.waiting() == 0
                    && !self.is_last
                    && (self.stream.has_opened()
                        || end_of_block(&self.input, self.looked_at).is_some())
            }
            State::Body(request, _) => {
                self.stream.has_opened() || self.input.len() >= request.body_bytes
            }
            State::Live(live) => self.stream.has_opened() || !live.output.is_empty(),
            State::Checking(..) | State::Publishing(..) | State::Lingering => false,
        }
    }

    /// Reads, answers and writes, as far as all of it goes without waiting for the other side.
    pub fn turn(&mut self, site: &Site, house: &House, now: Instant) {
        if self.patience.until().is_some_and(|until| now >= until) {
            self.broken = true;
            return;
        }
        let is_patient = self.is_live() && self.waiting() == 0;
        if now >= self.until && !self.is_busy() && !is_patient {
            return self.on_late(now);
        }
        let mut left = limits::HTTP_UNSENT_BYTES_MAX;
        for _ in 0..limits::HTTP_PIECES_PER_TURN {
            self.write(now);
            let before = self.waiting();
            if self.broken || left == 0 || !self.go_on(site, house, now) {
                break;
            }
            // Large answers are made one a turn, lest who asks for many be served before all others.
            left = left.saturating_sub(self.waiting().saturating_sub(before));
        }
        self.write(now);
        self.end_if_said(now);
    }

    /// A piece of what is under way. `false`: it waits.
    fn go_on(&mut self, site: &Site, house: &House, now: Instant) -> bool {
        match &mut self.state {
            State::Head => self.on_head(site, house, now),
            State::Body(..) => self.on_body(house, now),
            State::Answering { pieces, chunks } => {
                if self.output.len() - self.sent >= limits::HTTP_UNSENT_BYTES_MAX {
                    return false;
                }
                let chunks = *chunks;
                let mut piece = Vec::new();
                let step = pieces.step(house, &mut piece);
                self.put_piece(step, &piece, chunks, now);
                true
            }
            State::Checking(..) => false,
            State::Publishing(errand, _) => {
                let Some(answer) = errand.turn() else {
                    return false;
                };
                if let State::Publishing(_, request) =
                    std::mem::replace(&mut self.state, State::Head)
                {
                    self.answer(answer, &request, house, now);
                }
                true
            }
            State::Live(_) => self.on_live(house, now),
            State::Lingering => {
                let before = self.input.len();
                self.read(now, before + limits::HTTP_READ_BYTES);
                self.input.clear();
                self.broken |= self.ended;
                false
            }
        }
    }

    /// The verdict about the login that is checked.
    pub fn on_verdict(&mut self, verdict: Verdict, site: &Site, house: &House, now: Instant) {
        let State::Checking(request, user) = std::mem::replace(&mut self.state, State::Head) else {
            return;
        };
        if verdict == Verdict::Accepted {
            let visitor = self.visitor(site, Some(user.into()));
            return self.on_visitor(request, visitor, house, now);
        }
        let why = match verdict {
            Verdict::Accepted | Verdict::Busy => {
                let text = "too many passwords are being checked: ask again";
                let answer = Answer::error(503, "busy", text).with("Retry-After", "2");
                return self.answer(answer.last(), &request, house, now);
            }
            Verdict::UnknownUser => Refusal::UnknownUser,
            Verdict::WrongPassword => Refusal::WrongPassword,
        };
        // Told as a login of MQTT is, so that who reads the log for those finds these.
        let happening = Box::new(Happening::Refused {
            who: Identity {
                client_id: CLIENT_ID.into(),
                user_name: Some(user.into()),
                address: self.peer,
            },
            why,
        });
        house.known.log.happened(&happening);
        house.known.recent.note(happening);
        self.answer(
            log_in("user name or password is wrong"),
            &request,
            house,
            now,
        );
    }

    fn visitor(&self, site: &Site, user: Option<Box<str>>) -> Visitor {
        Visitor {
            may_act: user.is_some() || site.anonymous,
            user,
            listener: site.listener,
            is_local: self.address().is_loopback(),
        }
    }

    fn on_head(&mut self, site: &Site, house: &House, now: Instant) -> bool {
        // Behind the last answer nothing is read as a request.
        if self.waiting() > 0 || self.is_last {
            return false;
        }
        let Some(end) = end_of_block(&self.input, self.looked_at) else {
            self.looked_at = self.input.len();
            if self.input.len() >= limits::HTTP_HEAD_BYTES_MAX {
                let answer = Answer::error(431, "too_long", "the header is longer than 8 KiB");
                self.refuse(answer, now);
                return true;
            }
            if self.ended {
                self.broken = true;
                return false;
            }
            let was_empty = self.input.is_empty();
            let came = self.read(now, limits::HTTP_HEAD_BYTES_MAX);
            if was_empty && came {
                // However slowly it goes on.
                self.until = after(now, limits::HTTP_HEAD_MS);
            }
            return came;
        };
        self.patience.begin();
        let block: Vec<u8> = self.input.drain(..end).collect();
        self.looked_at = 0;
        match Request::read(&block) {
            Ok(request) => self.on_request(Box::new(request), site, house, now),
            Err(Bad(status, text)) => {
                let code = match status {
                    413 | 431 => "too_long",
                    _ => "wrong_request",
                };
                self.refuse(Answer::error(status, code, text), now);
            }
        }
        true
    }

    fn on_request(&mut self, request: Box<Request>, site: &Site, house: &House, now: Instant) {
        self.is_last = !request.keep_alive || self.ended;
        if !names::is_ours(&request.host, self.local, site.tls.as_deref()) {
            let text = "the page is not served under this name: ask for it by localhost, or by a name or address of this machine";
            return self.refuse(Answer::error(403, "wrong_host", text), now);
        }
        if let Some(origin) = &request.origin
            && !names::is_own_page(origin, &request.host, site.tls.is_some())
            && (request.method == Method::Post || request.websocket.is_some())
        {
            let text = "pages of another origin may not do this";
            return self.refuse(Answer::error(403, "wrong_origin", text), now);
        }
        let is_free = request.path == "/healthz" && self.address().is_loopback();
        if !site.login || is_free {
            let visitor = self.visitor(site, None);
            return self.on_visitor(request, visitor, house, now);
        }
        match request.credentials.clone() {
            Some(Ok(Credentials { user, password })) => {
                self.state = State::Checking(request, user.clone());
                self.until = after(now, limits::HTTP_CHECK_MS);
                let address = self.address();
                house.check(self.id, site.listener, address, user, password);
            }
            Some(Err(())) => {
                self.answer(
                    log_in("only HTTP Basic is understood"),
                    &request,
                    house,
                    now,
                );
            }
            None => self.answer(log_in("log in"), &request, house, now),
        }
    }

    /// It is known who asks.
    fn on_visitor(&mut self, request: Box<Request>, visitor: Visitor, house: &House, now: Instant) {
        if let Some(refused) = route::refusal(&request) {
            return self.answer(refused, &request, house, now);
        }
        if request.method == Method::Post {
            if !request.is_json {
                let text = "the body is JSON: Content-Type: application/json";
                let answer = Answer::error(415, "not_json", text);
                return self.answer(answer, &request, house, now);
            }
            if request.expects_continue {
                self.output
                    .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            self.until = after(now, limits::HTTP_BODY_MS);
            self.state = State::Body(request, visitor);
            return;
        }
        if let Some(key) = &request.websocket
            && route::place(&request.path) == Place::Live
        {
            if house.lives.get() >= limits::HTTP_LIVES_MAX {
                let text = "as many pages are open as may be: close one";
                let answer = Answer::error(503, "busy", text);
                return self.answer(answer, &request, house, now);
            }
            house.lives.set(house.lives.get() + 1);
            house.has_opened.set(true);
            // Before the page is told anything: from then on it misses nothing.
            let wake = Arc::clone(&house.wake);
            house.known.recent.listen(Some(wake));
            let accept = handshake::accept(key.as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            self.output.extend_from_slice(head.as_bytes());
            self.until = after(now, limits::HTTP_STUCK_MS);
            self.state = State::Live(Box::new(Live::new(visitor, now)));
            return;
        }
        let is_large = route::may_be_large(&request.path);
        if is_large && house.unsent.get() > limits::HTTP_ALL_UNSENT_BYTES_MAX {
            let text = "others have not taken their answers yet: ask again";
            let answer = Answer::error(503, "busy", text).with("Retry-After", "2");
            return self.answer(answer, &request, house, now);
        }
        let answer = route::read(&request, &visitor, house);
        self.answer(answer, &request, house, now);
    }

    fn on_body(&mut self, house: &House, now: Instant) -> bool {
        let State::Body(request, _) = &self.state else {
            return false;
        };
        let wanted = request.body_bytes;
        if self.input.len() < wanted {
            let came = self.read(now, wanted);
            self.broken |= self.ended;
            return came;
        }
        let State::Body(mut request, visitor) = std::mem::replace(&mut self.state, State::Head)
        else {
            return false;
        };
        let body: Vec<u8> = self.input.drain(..wanted).collect();
        request.body_bytes = 0;
        // Whatever the next one brings, it needs less room.
        self.input.shrink_to(limits::HTTP_READ_BYTES);
        match route::act(&request, &body, &visitor, house) {
            Act::Answer(answer) => self.answer(answer, &request, house, now),
            Act::Publish(message) => match Errand::new(message, &visitor, house, self.id) {
                Ok(errand) => {
                    self.until = after(now, limits::HTTP_ERRAND_MS);
                    self.state = State::Publishing(Box::new(errand), request);
                }
                Err(error) => {
                    let answer = Answer::error(503, "busy", &error.to_string());
                    self.answer(answer, &request, house, now);
                }
            },
        }
        true
    }

    /// A turn of a WebSocket. `false`: it waits.
    fn on_live(&mut self, house: &House, now: Instant) -> bool {
        if self.input.is_empty() {
            self.read(now, limits::HTTP_READ_BYTES);
        }
        let (input, unsent) = (std::mem::take(&mut self.input), self.waiting());
        let State::Live(live) = &mut self.state else {
            return false;
        };
        if !input.is_empty() {
            live.receive(&input, house, self.id, unsent);
        }
        live.turn(house, now, unsent);
        if unsent == 0 && !live.output.is_empty() {
            // From now on it must be taken.
            self.until = after(now, limits::HTTP_STUCK_MS);
        }
        self.output.append(&mut live.output);
        let is_over = live.is_over;
        if is_over || self.ended {
            self.is_last = true;
            self.state = State::Head;
            self.until = after(now, limits::HTTP_STUCK_MS);
        }
        !input.is_empty() && !is_over
    }

    /// Says why not, and ends: what follows may be a body that nobody reads.
    fn refuse(&mut self, mut answer: Answer, now: Instant) {
        self.is_last = true;
        if let Body::Whole(body) = answer.take_body() {
            self.put_whole(&answer, &body, false);
        }
        self.forget_input();
        self.state = State::Head;
        self.until = after(now, limits::HTTP_STUCK_MS);
    }

    fn forget_input(&mut self) {
        self.input = Vec::new();
        self.looked_at = 0;
    }

    fn answer(&mut self, mut answer: Answer, request: &Request, house: &House, now: Instant) {
        self.state = State::Head;
        self.until = after(now, limits::HTTP_STUCK_MS);
        // Of a request that is refused before its body was taken, the body is not read: neither as one nor, where some
        // of it has come already, as the next request.
        self.is_last |= answer.is_last || request.body_bytes > 0;
        let is_head = request.method == Method::Head;
        match answer.take_body() {
            Body::Pieces(mut pieces) => {
                let chunks = request.takes_chunks;
                self.is_last |= !chunks;
                let mut piece = Vec::new();
                // The first one tells whether there is an answer at all.
                let step = pieces.step(house, &mut piece);
                if step == Step::Busy {
                    return self.answer(Answer::busy(), request, house, now);
                }
                answer.put_head(None, chunks, self.is_last, &mut self.output);
                if is_head {
                    return;
                }
                self.state = State::Answering { pieces, chunks };
                self.put_piece(step, &piece, chunks, now);
            }
            Body::Whole(body) => {
                let before = self.waiting();
                self.put_whole(&answer, &body, is_head);
                house
                    .unsent
                    .set(house.unsent.get() + self.waiting() - before);
            }
        }
    }

    fn put_whole(&mut self, answer: &Answer, body: &[u8], is_head: bool) {
        answer.put_head(Some(body.len()), true, self.is_last, &mut self.output);
        if !is_head {
            self.output.extend_from_slice(body);
        }
    }

    fn put_piece(&mut self, step: Step, piece: &[u8], chunks: bool, now: Instant) {
        match chunks {
            true => put_chunk(piece, &mut self.output),
            false => self.output.extend_from_slice(piece),
        }
        match step {
            Step::More => {}
            Step::Done => {
                if chunks {
                    self.output.extend_from_slice(LAST_CHUNK);
                }
                self.state = State::Head;
            }
            // The answer is begun: that its end is missing says that something is wrong.
            Step::Busy => self.broken = true,
        }
        self.until = after(now, limits::HTTP_STUCK_MS);
    }

    fn on_late(&mut self, now: Instant) {
        let is_half = matches!(self.state, State::Head) && !self.input.is_empty();
        let is_body = matches!(self.state, State::Body(..));
        if self.waiting() == 0 && (is_half || is_body) && !self.is_last {
            let text = "the request took too long";
            self.refuse(Answer::error(408, "too_long", text), now);
            self.write(now);
            self.end_if_said(now);
        } else {
            self.broken = true;
        }
    }

    /// The last answer has left.
    fn end_if_said(&mut self, now: Instant) {
        let is_said = self.waiting() == 0 && !self.stream.wants_write();
        if self.is_last && is_said && matches!(self.state, State::Head) {
            self.stream.say_end();
            self.forget_input();
            self.state = State::Lingering;
            self.until = after(now, limits::HTTP_LINGER_MS);
        }
    }

    /// Reads once, up to so many bytes of `input`. `true`: something came.
    fn read(&mut self, now: Instant, most: usize) -> bool {
        let mut chunk = [0; limits::HTTP_READ_BYTES];
        let room = most.saturating_sub(self.input.len()).min(chunk.len());
        if room == 0 || self.ended {
            return false;
        }
        match self.stream.read(&mut chunk[..room]) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.input.extend_from_slice(&chunk[..count]);
                self.since = now;
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.broken = true,
        }
        // Its end is to be acted on.
        self.ended && !matches!(self.state, State::Lingering)
    }

    fn write(&mut self, now: Instant) {
        let before = self.waiting();
        while self.waiting() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.sent += count;
                    self.since = now;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.broken = true,
            }
            break;
        }
        if self.waiting() == 0 {
            self.broken |= self.stream.flush().is_err();
            // An idle connection holds no memory.
            self.output = Vec::new();
            self.sent = 0;
        } else if self.sent >= limits::HTTP_UNSENT_BYTES_MAX {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        self.patience
            .look(before - self.waiting(), self.waiting() > 0, now);
        if self.is_live() && self.waiting() == 0 {
            // What a page is told has no end. It must take all of it now and then, or much.
            self.patience.begin();
        }
        // A body has its time from the start, whatever was said to it.
        if self.waiting() < before && !matches!(self.state, State::Body(..)) {
            let is_idle = self.waiting() == 0 && matches!(self.state, State::Head);
            self.until = after(
                now,
                match is_idle {
                    true => limits::HTTP_IDLE_MS,
                    false => limits::HTTP_STUCK_MS,
                },
            );
        }
    }
}

/// Who is asked for a name and a password.
fn log_in(text: &str) -> Answer {
    Answer::error(401, "not_authorized", text).with(
        "WWW-Authenticate",
        "Basic realm=\"mqttfast\", charset=\"UTF-8\"",
    )
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
