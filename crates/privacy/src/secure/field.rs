//! The field of 2¹⁶ elements: polynomials over bits, modulo
//! x¹⁶ + x¹² + x³ + x + 1. The sum is the exclusive or.

const POLYNOMIAL: u32 = 0x1_100B;

/// The product, in a time that does not depend on the factors.
pub(super) fn multiply(a: u16, b: u16) -> u16 {
    let (mut a, b, mut product) = (u32::from(a), u32::from(b), 0);
    for bit in 0..16 {
        product ^= a & 0_u32.wrapping_sub(b >> bit & 1);
        a <<= 1;
        a ^= POLYNOMIAL & 0_u32.wrapping_sub(a >> 16);
    }
    product as u16
}

/// The inverse of an element other than 0: its power of 2¹⁶ − 2.
pub(super) fn inverse(a: u16) -> u16 {
    let (mut power, mut inverse) = (a, 1);
    for _ in 1..16 {
        power = multiply(power, power);
        inverse = multiply(inverse, power);
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All elements but 0 have an inverse only if the polynomial is irreducible.
    #[test]
    fn each_element_has_an_inverse() {
        assert!((1..=u16::MAX).all(|a| multiply(a, inverse(a)) == 1));
    }

    #[test]
    fn products_are_those_of_polynomials() {
        // x · x¹⁵ = x¹² + x³ + x + 1.
        assert_eq!(multiply(2, 0x8000), 0x100B);
        assert_eq!(multiply(0b101, 0b11), 0b1111);
        let values = [0, 1, 2, 0x1234, 0x8001, 0xFFFF];
        for a in values {
            assert_eq!((multiply(a, 0), multiply(a, 1)), (0, a));
            for b in values {
                assert_eq!(multiply(a, b), multiply(b, a));
                for c in values {
                    assert_eq!(multiply(a, b ^ c), multiply(a, b) ^ multiply(a, c));
                    assert_eq!(multiply(a, multiply(b, c)), multiply(multiply(a, b), c));
                }
            }
        }
    }
}
