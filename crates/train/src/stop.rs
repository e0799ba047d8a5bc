//! Stopping a run from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a training run to stop after its current step. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A new flag, which is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that Ctrl-C sets, for a loop written by hand, which can then save
    /// its results and end. A second Ctrl-C ends the program at once.
    ///
    /// # Errors
    ///
    /// When the system does not allow a signal handler.
    #[cfg(feature = "interrupt")]
    pub fn on_ctrl_c() -> dendra_tensor::Result<Self> {
        Ok(Self(ctrl_c::Presses::begin()?.flag()))
    }

    /// Sets the flag.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Listens for Ctrl-C until it is dropped.
pub(crate) struct Interrupt {
    #[cfg(feature = "interrupt")]
    presses: Option<&'static ctrl_c::Presses>,
}

impl Interrupt {
    /// Listens if requested.
    #[cfg(feature = "interrupt")]
    pub(crate) fn listen(wanted: bool) -> dendra_tensor::Result<Self> {
        Ok(Self { presses: wanted.then(ctrl_c::Presses::begin).transpose()? })
    }

    /// Without the feature `ctrl-c`, `wanted` is always false.
    #[cfg(not(feature = "interrupt"))]
    pub(crate) fn listen(_: bool) -> dendra_tensor::Result<Self> {
        Ok(Self {})
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn is_pressed(&self) -> bool {
        #[cfg(feature = "interrupt")]
        return self.presses.is_some_and(ctrl_c::Presses::is_pressed);
        #[cfg(not(feature = "interrupt"))]
        return false;
    }
}

#[cfg(feature = "interrupt")]
impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(presses) = self.presses {
            presses.end();
        }
    }
}

#[cfg(feature = "interrupt")]
mod ctrl_c {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, OnceLock};

    use dendra_tensor::{Error, Result};
    use signal_hook::consts::SIGINT;
    use signal_hook::flag;

    /// The exit code that a shell expects of a program that Ctrl-C ended.
    const ENDED_BY_INTERRUPT: i32 = 128 + SIGINT;

    /// A signal handler cannot be removed, so the process has one.
    pub(super) struct Presses {
        pressed: Arc<AtomicBool>,
        /// Whether the next press ends the program: when no run listens, and
        /// after the first press.
        ends: Arc<AtomicBool>,
    }

    impl Presses {
        pub(super) fn begin() -> Result<&'static Self> {
            static PRESSES: OnceLock<Presses> = OnceLock::new();
            let presses = match PRESSES.get() {
                Some(presses) => presses,
                None => {
                    let presses = Self::register()
                        .map_err(|error| Error::argument("Ctrl-C", error.to_string()))?;
                    PRESSES.get_or_init(|| presses)
                }
            };
            presses.pressed.store(false, Ordering::SeqCst);
            presses.ends.store(false, Ordering::SeqCst);
            Ok(presses)
        }

        /// Handlers run in the order of registration.
        fn register() -> std::io::Result<Self> {
            let (pressed, ends) = (Arc::default(), Arc::default());
            flag::register_conditional_shutdown(SIGINT, ENDED_BY_INTERRUPT, Arc::clone(&ends))?;
            flag::register(SIGINT, Arc::clone(&ends))?;
            flag::register(SIGINT, Arc::clone(&pressed))?;
            Ok(Self { pressed, ends })
        }

        pub(super) fn is_pressed(&self) -> bool {
            self.pressed.load(Ordering::SeqCst)
        }

        pub(super) fn flag(&self) -> Arc<AtomicBool> {
            Arc::clone(&self.pressed)
        }

        pub(super) fn end(&self) {
            self.ends.store(true, Ordering::SeqCst);
        }
    }
}
