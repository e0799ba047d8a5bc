//! Any bytes for `dendra_hostile::csv`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dendra_hostile::withstand(dendra_hostile::csv, bytes);
});
