//! Runs `dendra_hostile::quantised` on any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dendra_hostile::withstand(dendra_hostile::quantised, bytes);
});
