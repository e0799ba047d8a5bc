//! Runs `dendra_hostile::idx` on any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dendra_hostile::withstand(dendra_hostile::idx, bytes);
});
