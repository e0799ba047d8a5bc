//! The warning that this library was compiled without optimisation.

/// Prints once, on standard error, that the library was compiled without
/// optimisation, and how to change that. In an optimised build it does nothing.
///
/// Cargo's development profile does not optimise dependencies, which makes
/// training about a hundred times slower.
#[inline]
pub fn warn_if_unoptimised() {
    #[cfg(unoptimised)]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            eprintln!(
                "dendra was compiled without optimisation, which makes it a hundred times slower.\n\
                 Run with --release, or add to your Cargo.toml:\n\n\
                 [profile.dev.package.\"*\"]\n\
                 opt-level = 3\n\
                 debug-assertions = false\n\
                 overflow-checks = false\n"
            );
        });
    }
}
