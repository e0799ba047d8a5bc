//! Runs `dendra_hostile::weights` on any bytes, with seeds of this format.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dendra_hostile::withstand(dendra_hostile::weights, bytes);
});
