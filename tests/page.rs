//! The page of `--http` in Debian's headless Chromium: it loads alone and without faults, shows who comes and goes,
//! what is retained and what was denied, in both languages. Whatever a peer calls itself stays text. It stays small and
//! quick with 2,000 clients and 10,000 retained topics.
//!
//! Times are asserted with a margin, since other tests run beside and CI has two cores; each test prints what it
//! measured.

#[path = "page/browser.rs"]
mod browser;
#[path = "page/words.rs"]
mod words;

use browser::{Browser, DESKTOP, PHONE, Size};
use mqttfast_rig::process::{self as support, Broker, Client, Connect, Options, packet, users};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

/// A broker with the page, and its address there.
fn house(mut options: Options) -> (Broker, String) {
    let port = support::free_port();
    options.arguments.push("--http".to_owned());
    options.arguments.push(format!("127.0.0.1:{port}"));
    (Broker::start_with(options), format!("127.0.0.1:{port}"))
}

/// The page of a broker, loaded and with its live socket.
fn opened(broker: &str, size: Size) -> Browser {
    let mut browser = Browser::start();
    browser.resize(size);
    browser.open(&format!("http://{broker}/"));
    browser.shows("live");
    browser
}

/// Nothing is wider than the window, and no two things that stand side by side overlap.
fn assert_tidy(browser: &mut Browser, case: &str) {
    for size in [DESKTOP, PHONE] {
        // A phone's window grows with a page that is too wide, so it is the size that counts, and not `innerWidth`.
        browser.resize(size);
        browser.until(
            "it is painted",
            "new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(true), 300)))",
        );
        let width = browser.get(&format!(
            "document.documentElement.scrollWidth - {}",
            size.0
        ));
        assert!(
            width.as_i64().is_some_and(|over| over <= 0),
            "{case} at {size:?}: {width} px too wide"
        );
        let untidy = browser.get(
            &"(() => {
                const found = [], rect = (el) => el.getBoundingClientRect(), says = (el) => el.tagName + '.' + el.className + ': ' + el.textContent.slice(0, 40);
                const seen = (el) => { const r = rect(el); return r.width > 1 && r.height > 1 && !el.closest('.hide'); };
                for (const el of document.querySelectorAll('body *')) {
                    if (seen(el) && !el.closest('nav, table') && rect(el).right > WIDTH + 1) found.push('sticks out ' + says(el));
                }
                for (const box of document.querySelectorAll('main, .bar, .top, .tools, .what, .pair, .name, .leaf, form, figure, figcaption, .facts, .bars li, tr.r, tr.r > *, .needs, .needs > li, .sheet > *')) {
                    const kids = [...box.children].filter((el) => seen(el) && getComputedStyle(el).position !== 'absolute' && el.tagName !== 'I');
                    kids.forEach((one, index) => { for (const two of kids.slice(index + 1)) {
                        const a = rect(one), b = rect(two);
                        const over = Math.min(a.right, b.right) - Math.max(a.left, b.left), below = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                        if (over > 1 && below > 2 && getComputedStyle(one).display !== 'inline') found.push(says(one) + ' overlaps ' + says(two));
                    } });
                }
                return found.slice(0, 5);
            })()"
            .replace("WIDTH", &size.0.to_string()),
        );
        assert_eq!(untidy, json!([]), "{case} at {size:?}");
    }
    browser.resize(DESKTOP);
}

#[test]
fn it_loads_alone_and_shows_what_happens() {
    let folder = support::Folder::new();
    let acl = folder.path("acl");
    fs::write(&acl, "topic readwrite home/#\ntopic read $SYS/#\n").expect("an ACL file");
    let (broker, at) = house(Options {
        acl: Some(acl),
        ..Options::default()
    });
    let mut browser = opened(&at, DESKTOP);
    browser.shows("No device is connected");
    browser.shows("mosquitto_pub");
    browser.shows("Nothing needs attention");
    assert_tidy(&mut browser, "nobody");

    // A client that connects is listed within two seconds.
    let mut lamp = Client::connect(&broker, "kitchen-lamp");
    let took = browser.shows("kitchen-lamp");
    println!("a client is listed after {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");

    // What the page itself was, as a client of its broker, is not in the list.
    browser.open(&format!("http://{at}/"));
    browser.shows("1 connected, 0 absent");

    // What is retained, and how it changes. The page is not told to look again: it hears it.
    lamp.publish("home/kitchen/temperature", b"19.25", 1, true);
    browser.shows("temperature");
    browser.shows("19.25");
    lamp.publish("home/kitchen/temperature", b"21.75", 1, true);
    let took = browser.shows("21.75");
    println!("a retained value changes after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    browser.until(
        "the old value is gone",
        "!document.body.innerText.includes('19.25')",
    );

    // A denial, with the remedy, and for a screen reader.
    lamp.publish("secret/door", b"open", 1, false);
    let took = browser.shows("secret/door");
    println!("a denial is shown after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    browser.shows("mqttfast explain publish");
    browser.until(
        "it is said",
        "document.querySelector('[aria-live=polite]').textContent.includes('secret/door')",
    );
    assert_tidy(&mut browser, "one of each");

    // All of it is counted, whichever kind is shown.
    let counts = browser.get(
        "(() => {
            const count = (which) => { kind = which; PAINT.attention(); return document.title; };
            drops.unshift({ at: performance.now(), n: -1 });
            const counts = ['all', 'refusal'].map(count);
            drops.shift();
            count('all');
            return counts;
        })()",
    );
    assert_eq!(counts, json!(["(2) mqttfast", "(2) mqttfast"]));

    // Topics that nothing retains have their places for a while, and leave them to later ones.
    let has_room = browser.get(
        "(async () => {
            const pass = (topic) => { message({ topic, value: '1', bytes: 1, qos: 0, retain: false, at: clock() - 100 }); return root.kids.has(topic); };
            const read_anew = async () => { while (root.loading) await new Promise((done) => setTimeout(done, 20)); await read(root); };
            for (let n = 0; n < KIDS_LIVE_MAX; n += 1) pass('passing-' + n);
            const found = [pass('too-many')];
            await read_anew();
            found.push(pass('later'));
            await read_anew();
            return found;
        })()",
    );
    assert_eq!(has_room, json!([false, true]));

    // Another value, by the box.
    browser.get("(() => { const { topic, payload, retain } = document.getElementById('publish.form').elements;
        topic.value = 'home/hall/light'; payload.value = 'on & <off>'; retain.checked = true; topic.form.requestSubmit(); })()");
    browser.shows("Published to home/hall/light.");
    browser.shows("on & <off>");
    browser.get("(() => { const { topic } = document.getElementById('publish.form').elements; topic.value = 'secret/door'; topic.form.requestSubmit(); })()");
    browser.until(
        "it is refused",
        "document.querySelector('#publish .answer.bad')?.textContent.length > 10",
    );

    // The clean-up says what would go, asks once more with the number, and does it.
    browser.get("(() => { const { filter } = document.getElementById('clean.form').elements; filter.value = 'home/#'; filter.form.requestSubmit(); })()");
    browser.shows("2 retained messages would be deleted");
    browser.get("document.getElementById('clean.go').click()");
    browser.until("it asks", "document.getElementById('dialog').open && document.getElementById('dialog.h').textContent === 'Delete 2 retained messages?'");
    browser.get("document.querySelector('#dialog .harm').click()");
    browser.shows("2 retained messages were deleted.");
    browser.shows("Nothing is retained");

    // A refusal that is mended needs no attention any more: who gave no name is known by its address.
    let mut early = Client::open(&broker);
    early.send(b"GET / HTTP/1.1\r\n\r\n");
    let needs = "document.getElementById('needs').innerText.includes('an HTTP request')";
    browser.until("it is refused", needs);
    let late = Client::connect(&broker, "late");
    browser.until("it is mended", &format!("!{needs}"));
    late.disconnect();

    // Who says one thing and goes leaves nothing in the list.
    Client::connect(&broker, "one-shot").disconnect();
    browser.until(
        "it has come and gone",
        "[...happenings.values()].some((line) => line.client === 'one-shot') && !clients.has('one-shot')",
    );

    // Why it left.
    drop(lamp);
    browser.until(
        "it has left",
        "/left \\d+ s ago: ./.test(document.getElementById('clients').innerText)",
    );

    // French by the switch, which is kept, and by what the browser wants.
    browser.get("document.getElementById('language').click()");
    browser.shows("Ce qui demande votre attention");
    assert_eq!(browser.get("document.documentElement.lang"), "fr");
    browser.shows("demandez à `mqttfast explain publish");
    assert_tidy(&mut browser, "French");
    browser.open(&format!("http://{at}/"));
    browser.shows("Ce qui demande votre attention");
    browser.get("localStorage.clear()");
    browser.open(&format!("http://{at}/"));
    browser.shows("What needs attention");
    browser.languages("fr-FR,fr;q=0.9,en;q=0.5");
    browser.open(&format!("http://{at}/"));
    browser.shows("Ce qui demande votre attention");
    browser.shows("Rien n'est retenu");

    // The browser tells of each answer that is an error, too.
    let mut faults = browser.faults();
    faults.retain(|fault| !(fault.contains("/api/v1/publish") && fault.contains("403")));
    assert_eq!(faults, [""; 0]);
    for url in browser.requests() {
        let own = ["http://", "ws://"]
            .iter()
            .any(|scheme| url.starts_with(&format!("{scheme}{at}/")));
        assert!(
            own || url.starts_with("data:") || url == "about:blank",
            "{url} was asked for"
        );
    }
}

#[test]
fn who_logs_in_sees_it_and_names_stay_text() {
    const HTML: &str =
        "<img src=x onerror=\"window.harm=1\"><script>window.harm=1</script><b>bold</b>";
    let folder = support::Folder::new();
    let passwd = folder.path("passwd");
    fs::write(&passwd, users::ALICE).expect("a password file");
    let output = std::process::Command::new(support::program())
        .args([
            "passwd",
            "-b",
            &passwd.display().to_string(),
            "<b>user</b>",
            "pw",
        ])
        .output()
        .expect("mqttfast passwd");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let acl = folder.path("acl");
    fs::write(
        &acl,
        "user alice\ntopic readwrite #\nuser <b>user</b>\ntopic readwrite names/#\n",
    )
    .expect("an ACL file");
    let (broker, at) = house(Options {
        passwd: Some(passwd),
        acl: Some(acl),
        ..Options::default()
    });

    let long = "x".repeat(60_000);
    let turned = "admin\u{202e}gnp.exe\u{7f}\u{200b}";
    let (mut html, _) = Client::connect_with(&broker, &users::login(HTML, "<b>user</b>", "pw"));
    let (_long, _) = Client::connect_with(&broker, &users::login(&long, "alice", "secret"));
    let (mut alice, _) = Client::connect_with(&broker, &users::login(turned, "alice", "secret"));
    html.publish(&format!("names/{HTML}"), HTML.as_bytes(), 1, true);
    html.publish(&format!("forbidden/{HTML}"), b"", 1, false);
    alice.publish(
        &format!("names/{}", "y".repeat(60_000)),
        "z".repeat(2_000).as_bytes(),
        1,
        true,
    );
    alice.publish("names/\u{202e}turned", b"\x1b[31m\xe2\x80\xae red", 1, true);
    alice.publish("names/bytes", b"\xff\xfe\x00", 1, true);

    let mut browser = Browser::start();
    browser.resize(DESKTOP);
    browser.open(&format!("http://alice:secret@{at}/"));
    browser.shows("as alice");
    browser.until(
        "three clients",
        "document.querySelectorAll('#clients tbody tr.r').length === 3",
    );
    browser.until(
        "the topics",
        "document.querySelectorAll('.leaf').length >= 5",
    );
    browser.until(
        "the denial",
        "document.getElementById('needs').textContent.includes('forbidden/')",
    );
    browser.get("(() => { document.getElementById('feed.form').requestSubmit(); })()");
    html.publish(
        &format!("names/{HTML}"),
        format!("{HTML}2").as_bytes(),
        1,
        true,
    );
    browser.until(
        "it passes",
        "document.querySelectorAll('#feed tbody tr.m').length >= 1",
    );
    for part in ["clients", "topics", "needs", "feed"] {
        let found = browser.get(&format!(
            "document.getElementById('{part}').textContent.includes('<img src=x onerror=')"
        ));
        assert_eq!(found, true, "{part} does not show the name as it is");
    }
    let made = browser.get("document.querySelectorAll('img, b:not(nav b):not(.what b), main script').length + (window.harm || 0)");
    assert_eq!(made, 0, "markup was made of a name");
    // Every name holds text, and nothing but marks for what has no glyph.
    assert_eq!(
        browser.get(
            "[...document.querySelectorAll('.peer *')].filter((el) => !el.matches('.odd')).length"
        ),
        0
    );
    let bare = browser.get("/[\\u0000-\\u0009\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e]/.test(document.body.innerText.replace(/\\t/g, ''))");
    assert_eq!(
        bare, false,
        "a control character or a turn of the direction is in the page"
    );
    browser.shows("⟨U+202E⟩");
    assert_tidy(&mut browser, "names");

    // The long one is cut, and there on demand.
    browser.get("[...document.querySelectorAll('#clients .name button')].find((el) => el.textContent.startsWith('xxx')).click()");
    browser.until("its sheet", "document.getElementById('dialog').open");
    assert_tidy(&mut browser, "a sheet");
    browser.get("document.querySelector('#dialog .link').click()");
    assert_eq!(
        browser.get("document.querySelector('#dialog .long').textContent.length"),
        60_000
    );
    assert_tidy(&mut browser, "a long name");
    browser.get("document.getElementById('dialog').close()");
    browser.get("[...document.querySelectorAll('.leaf')].find((el) => el.value.textContent.includes('<img')).click()");
    browser.until(
        "its value",
        "document.getElementById('dialog.in').textContent.includes('<b>bold</b>2')",
    );
    assert_eq!(
        browser.get("document.querySelectorAll('dialog img').length + (window.harm || 0)"),
        0
    );
    assert_tidy(&mut browser, "a value");
    let faults = browser.faults();
    assert_eq!(faults, [""; 0]);
}

#[test]
fn many_clients_and_topics() {
    // Two thousand sockets here, and as many in the broker.
    support::raise_descriptor_limit(8_192);
    let (broker, at) = house(Options {
        shards: 2,
        ..Options::default()
    });
    let mut all: Vec<Client> = (0..2_000).map(|_| Client::open(&broker)).collect();
    for (number, client) in all.iter_mut().enumerate() {
        let client_id = format!("device-{number:04}");
        client.send(
            &Connect {
                client_id: client_id.as_bytes(),
                ..Connect::default()
            }
            .bytes(),
        );
    }
    for client in &mut all {
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
    }
    let mut writer = Client::connect(&broker, "writer");
    let mut bytes = Vec::new();
    for number in 0..5_000 {
        let topic = format!("homeassistant/sensor/node{number:04}/config");
        bytes.extend(packet::publish(
            topic.as_bytes(),
            br#"{"name":"a sensor","unit":"C"}"#,
            0,
            0,
            true,
        ));
        let topic = format!("wide/topic{number:04}");
        bytes.extend(packet::publish(topic.as_bytes(), b"1.5", 0, 0, true));
    }
    writer.send(&bytes);
    writer.publish("home/last", b"0", 1, true);
    let written = Instant::now();

    let mut browser = Browser::start();
    browser.resize(DESKTOP);
    let mut paints = Vec::new();
    for _ in 0..3 {
        browser.open(&format!("http://{at}/"));
        browser.shows("2,001 connected");
        browser.shows("10,001 retained messages");
        let paint =
            browser.get("performance.getEntriesByName('first-contentful-paint')[0].startTime");
        paints.push(paint.as_f64().expect("a time"));
    }
    println!("first paint after {paints:?} ms");
    let first_paint = paints.iter().copied().fold(f64::INFINITY, f64::min);
    // 300 ms is the aim; twice that on a machine that does something else as well.
    assert!(first_paint <= 600.0, "{paints:?}");

    // All are there, and only those that can be seen are elements.
    browser.until("the last client is found", "(() => { const box = document.getElementById('clients.box'); box.scrollTop = box.scrollHeight; return box.textContent.includes('writer'); })()");
    browser.get("[...document.querySelectorAll('.leaf')].find((el) => el.textContent.startsWith('▶wide')).firstChild.click()");
    browser.until("the last topic is found", "(() => { const box = document.getElementById('tree'); box.scrollTop = box.scrollHeight; return box.textContent.includes('topic4999'); })()");
    // They are as old as they are, though each comes once more as the level is watched.
    std::thread::sleep(Duration::from_millis(1_500));
    let age = browser.get(
        "Number.parseInt([...document.querySelectorAll('.leaf')].find((el) => el.textContent.includes('topic4999')).age.data)",
    );
    let least = written.elapsed().as_secs().saturating_sub(2).min(55);
    assert!(
        age.as_u64().is_some_and(|age| age >= least),
        "{age} s, not {least}"
    );
    let elements = browser
        .get("document.querySelectorAll('*').length")
        .as_u64();
    println!("{elements:?} elements");
    assert!(elements.is_some_and(|count| count < 1_500), "{elements:?}");
    assert_tidy(&mut browser, "many");

    // A filter finds one of them, a key opens a level.
    browser.get("(() => { const filter = document.getElementById('clients.filter'); filter.value = 'DEVICE-1234'; filter.dispatchEvent(new Event('input')); })()");
    browser.until(
        "one is left",
        "document.querySelectorAll('#clients tbody tr.r').length === 1",
    );
    browser.get("(() => { const filter = document.getElementById('clients.filter'); filter.value = ''; filter.dispatchEvent(new Event('input')); document.getElementById('tree').scrollTop = 0; })()");
    browser.until("the first level has the focus", "(() => { const leaf = [...document.querySelectorAll('.leaf')].find((el) => el.textContent.startsWith('▶home')); leaf?.focus(); return leaf && document.activeElement === leaf; })()");
    browser.key("ArrowRight");
    browser.until(
        "it is open",
        "document.querySelector('.leaf[aria-expanded=true]')?.textContent.startsWith('▼home')",
    );
    browser.key("ArrowDown");
    browser.until(
        "the next has the focus",
        "document.activeElement.getAttribute('aria-level') === '2'",
    );

    // Clients and values come and go: what one update costs the page.
    browser.get("steps.length = 0");
    let end = Instant::now() + Duration::from_secs(4);
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        writer.publish("home/last", number.to_string().as_bytes(), 1, true);
        drop(Client::connect(&broker, &format!("guest-{}", number % 5)));
        std::thread::sleep(Duration::from_millis(100));
    }
    let steps = browser.get("steps");
    let steps = steps.as_array().expect("a list");
    let mut times: Vec<f64> = steps.iter().filter_map(|step| step[1].as_f64()).collect();
    times.sort_by(f64::total_cmp);
    let at_share = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let (half, most, worst) = (at_share(0.5), at_share(0.95), at_share(1.0));
    println!(
        "{} updates of the page: half within {half} ms, 95 of 100 within {most} ms, the longest {worst} ms",
        times.len()
    );
    assert!(times.len() >= 8, "{steps:?}");
    // 16 ms is the aim. The clock goes on while others have the processor, so the few longest may be of any length.
    assert!(half <= 16.0 && most <= 64.0, "{times:?}");
    assert_eq!(browser.faults(), [""; 0]);
}
