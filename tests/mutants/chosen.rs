//! Which mutant is in force: `MQTTFAST_MUTANT` has its number. `tests/mutants` puts this file into its copy of `src/`.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers are below this.
const MUTANTS_MAX: usize = 65_536;

struct State {
    chosen: Option<usize>,
    /// The file that `MQTTFAST_MUTANTS_REACHED` names gets the number of each mutant that was come by, once.
    reached: Option<(Box<[AtomicBool]>, File)>,
}

/// What a mutated expression asks at run time.
#[inline(never)]
pub fn is(number: usize) -> bool {
    static STATE: OnceLock<State> = OnceLock::new();
    let state = STATE.get_or_init(|| State {
        chosen: std::env::var("MQTTFAST_MUTANT")
            .ok()
            .map(|number| number.parse().expect("MQTTFAST_MUTANT is a number")),
        reached: std::env::var_os("MQTTFAST_MUTANTS_REACHED").map(|path| {
            let seen = (0..MUTANTS_MAX).map(|_| AtomicBool::new(false));
            (seen.collect(), File::create(path).expect("a file"))
        }),
    });
    if let Some((seen, file)) = &state.reached
        && !seen[number].swap(true, Ordering::Relaxed)
    {
        let mut file = file;
        file.write_all(format!("{number}\n").as_bytes())
            .expect("a file that can be written");
    }
    state.chosen == Some(number)
}
