//! The results of Opacus and of Google's dp-accounting, which
//! `tests/fixtures/make_accounting.py` computed.

use serde_json::Value;

use crate::renyi::{self, Conversion};
use crate::{Accountant, Budget, Ledger, Mechanism, renyi_divergence};

fn fixture() -> Value {
    serde_json::from_str(include_str!("../tests/fixtures/accounting.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

/// Each case with its ledger and δ.
fn cases() -> Vec<(Value, Ledger, f64)> {
    let of_case = |case: &Value| {
        let mut ledger = Ledger::new();
        for entry in list(&case["history"]) {
            let (noise_multiplier, sample_rate) = (number(&entry[0]), number(&entry[1]));
            let steps = entry[2].as_u64().unwrap();
            ledger.record(Mechanism { noise_multiplier, sample_rate, steps }).unwrap();
        }
        (case.clone(), ledger, number(&case["delta"]))
    };
    list(&fixture()["cases"]).iter().map(of_case).collect()
}

#[track_caller]
fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{what}: {found}, expected {expected}");
}

#[test]
fn renyi_divergences_are_those_of_opacus() {
    let orders = fixture()["orders"].clone();
    let mut left_out = 0;
    for (case, ledger, _) in cases() {
        let Mechanism { noise_multiplier, sample_rate, .. } = ledger.entries()[0];
        for (order, expected) in list(&orders).iter().zip(list(&case["rdp"])) {
            let found = renyi_divergence(noise_multiplier, sample_rate, number(order));
            if found.is_infinite() && number(order) < 2.0 {
                left_out += 1;
                continue;
            }
            let error = (found / number(expected) - 1.0).abs();
            assert!(error < 1e-7, "{case}: order {order}: {found}, expected {expected}");
        }
    }
    // Their series converge too slowly.
    assert_eq!(left_out, 4);
}

#[test]
fn both_renyi_conversions_are_those_of_opacus_and_google() {
    let opacus = || renyi::orders().filter(|order| *order <= 63.0 && *order != 11.0);
    for (case, ledger, delta) in cases() {
        let mechanisms = ledger.distinct().unwrap();
        let by = |conversion| renyi::epsilon(&mechanisms, delta, conversion, opacus());
        close(by(Conversion::Mironov), number(&case["mironov"]), 1e-9, "mironov");
        close(by(Conversion::Canonne), number(&case["canonne"]), 1e-9, "canonne");
        let all = Accountant::Renyi.epsilon(&ledger, delta).unwrap();
        // Google's is a little larger where a fractional order is the best.
        let google = number(&case["google_rdp"]);
        assert!(all <= google + 1e-9, "{all}, {google}");
        close(all, google, 1e-2, "google");
    }
}

#[test]
fn numerical_composition_is_that_of_opacus_and_encloses_that_of_google() {
    // Those that compute fastest, with one that composes different mechanisms.
    for (case, ledger, delta) in cases().into_iter().step_by(3) {
        let found = ledger.bounds(delta).unwrap().unwrap();
        if let Some(expected) = case["prv"].as_array() {
            for (found, expected) in [found.lower, found.estimate, found.upper].iter().zip(expected)
            {
                close(*found, number(expected).max(0.0), 1e-4, &case.to_string());
            }
        }
        // Google's result is an upper bound, too.
        let google = number(&case["google_pld"]);
        assert!(found.lower <= google && google <= found.upper + 1e-3, "{found:?}: {case}");
    }
}

#[test]
fn the_gaussian_limit_is_that_of_opacus_and_exact_without_sampling() {
    for (case, ledger, delta) in cases() {
        let found = Accountant::GaussianLimit.epsilon(&ledger, delta).unwrap();
        if ledger.entries()[0].sample_rate == 1.0 {
            close(found, number(&case["google_pld"]), 1e-3, "exact");
        } else if let Some(expected) = case["gdp"].as_f64() {
            close(found, expected, 1e-6, "limit");
        }
    }
}

#[test]
fn known_guarantees() {
    let one = |noise_multiplier, sample_rate, steps| {
        let mut ledger = Ledger::new();
        ledger.record(Mechanism { noise_multiplier, sample_rate, steps }).unwrap();
        ledger
    };
    let epsilon = |accountant: Accountant, ledger| accountant.epsilon(ledger, 1e-5).unwrap();
    let ledger = one(1.5, 0.04, 2250);
    close(epsilon(Accountant::Renyi, &ledger), 7.329_11, 1e-6, "renyi");
    assert!((6.77..6.78).contains(&epsilon(Accountant::Prv, &ledger)));
    // MNIST for 60 epochs of 250 steps.
    let mnist = one(1.1, 1.0 / 250.0, 15_000);
    let rounded_up = |epsilon: f64| (epsilon * 100.0).ceil() / 100.0;
    assert_eq!(rounded_up(epsilon(Accountant::RenyiMironov, &mnist)), 2.91);
    assert_eq!(rounded_up(epsilon(Accountant::Renyi, &mnist)), 2.51);
}

#[test]
fn noise_is_found_from_epsilon_and_back() {
    for case in list(&fixture()["noise"]) {
        let budget = Budget { epsilon: number(&case["epsilon"]), delta: number(&case["delta"]) };
        let (rate, steps) = (number(&case["rate"]), case["steps"].as_u64().unwrap());
        let noise = Accountant::Renyi.noise_multiplier(budget, rate, steps).unwrap();
        close(noise, number(&case["noise_multiplier"]), 2e-4, "noise");
        let mechanism = Mechanism { noise_multiplier: noise, sample_rate: rate, steps: 1 };
        let most = Accountant::Renyi.remaining_steps(&Ledger::new(), mechanism, budget).unwrap();
        assert!((steps..steps + steps / 500).contains(&most), "{most} for {steps}");
    }
}

#[test]
fn extremes_have_an_answer_or_an_error() {
    let mut ledger = Ledger::new();
    for accountant in [Accountant::Renyi, Accountant::Prv, Accountant::GaussianLimit] {
        assert_eq!(accountant.epsilon(&ledger, 1e-5).unwrap(), 0.0);
        assert!(accountant.epsilon(&ledger, 0.0).is_err());
        assert!(accountant.epsilon(&ledger, f64::NAN).is_err());
    }
    ledger.record(Mechanism { noise_multiplier: 0.01, sample_rate: 0.5, steps: 1 << 40 }).unwrap();
    assert_eq!(ledger.bounds(1e-5).unwrap(), None);
    assert_eq!(Accountant::Prv.epsilon(&ledger, 1e-5).unwrap(), f64::INFINITY);
    assert!(Accountant::Renyi.epsilon(&ledger, 1e-5).unwrap() > 1e6);
    let budget = Budget { epsilon: 1e-9, delta: 1e-12 };
    assert!(Accountant::Renyi.noise_multiplier(budget, 1.0, 1 << 50).is_err());
}
