//! The copy of the product that `build.rs` has made, and `planted`, which says what mistake is in force in this thread.

include!(concat!(env!("OUT_DIR"), "/src/lib.rs"));

pub mod planted {
    //! Which mistake is in force. `edits.txt` lists them.
    use std::cell::Cell;
    use std::sync::OnceLock;

    include!(concat!(env!("OUT_DIR"), "/fault.rs"));

    thread_local! {
        static PLANTED: Cell<Option<Fault>> = const { Cell::new(None) };
        static PRODUCT: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on broken invariants of this thread do what they do in the product, and do not panic.
    pub fn as_product() {
        PRODUCT.set(true);
    }

    /// What an edit asks at run time.
    pub fn is_product() -> bool {
        PRODUCT.get()
    }

    /// From now on all shards of this thread make this mistake, or none.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.set(fault);
    }

    /// The mistake that all threads of a process make which `MQTTFAST_FAULT` names.
    fn named() -> Option<Fault> {
        static NAMED: OnceLock<Option<Fault>> = OnceLock::new();
        *NAMED.get_or_init(|| {
            let name = std::env::var("MQTTFAST_FAULT").ok()?;
            let found = Fault::ALL.iter().find(|fault| format!("{fault:?}") == name);
            Some(*found.expect("MQTTFAST_FAULT names a mistake of edits.txt"))
        })
    }

    /// What an edit asks at run time.
    pub fn is(fault: Fault) -> bool {
        PLANTED.get().or_else(named) == Some(fault)
    }

    /// A rule holds without the mistake, and does not with it.
    #[track_caller]
    pub fn found(fault: Fault, holds: impl Fn() -> bool) {
        plant(None);
        assert!(holds(), "the rule of {fault:?} does not hold");
        plant(Some(fault));
        let missed = holds();
        plant(None);
        assert!(!missed, "{fault:?} was not found");
    }
}
