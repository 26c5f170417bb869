//! Libraries that are loaded before the libc of one broker, so that its calls meet what a test wants: `clock.c`,
//! `disk.c` and `failing_disk.c`.

use super::Folder;
use std::process::Command;

/// Compiles `NAME.c`, which lies beside this file, into `folder`, if that has not been done. Returns what a broker is
/// launched by to have it, with these variables in its environment.
pub fn launcher(
    folder: &Folder,
    name: &str,
    variables: impl IntoIterator<Item = (&'static str, String)>,
) -> Vec<String> {
    let library = folder.path(&format!("{name}.so"));
    if !library.exists() {
        let source = format!("{}/src/process/{name}.c", env!("CARGO_MANIFEST_DIR"));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .args([&source, "-ldl"])
            .output()
            .expect("cc, which builds the broker too");
        let said = String::from_utf8_lossy(&compiled.stderr);
        assert!(compiled.status.success(), "{said}");
    }
    let mut words = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
    ];
    let variables = variables.into_iter();
    words.extend(variables.map(|(name, value)| format!("{name}={value}")));
    words
}
