//! Every tap of every window compared with the definition, and PyTorch's
//! numbers of windows.

use super::*;

/// All windows of small images, for every combination of settings.
fn for_each_geometry(mut check: impl FnMut([usize; 2], Sliding, Windows)) {
    let mut count = 0;
    for input in [[0, 3], [1, 1], [5, 4], [7, 9]] {
        for kernel_size in [[1, 1], [2, 3], [3, 2], [4, 4]] {
            for stride in [[1, 1], [2, 3], [3, 2], [4, 6]] {
                for padding in [[0, 0], [1, 2], [3, 0]] {
                    for dilation in [[1, 1], [2, 3], [4, 2]] {
                        for ceil_mode in [false, true] {
                            let sliding =
                                Sliding { kernel_size, stride, padding, dilation, ceil_mode };
                            if let Ok(windows) = Windows::new("test", input, &sliding) {
                                check(input, sliding, windows);
                                count += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(count > 500, "{count} geometries fit");
}

/// The coordinate by the definition, or `None` in the padding.
fn coordinate(s: &Sliding, axis: usize, size: usize, window: usize, tap: usize) -> Option<usize> {
    let index = (window * s.stride[axis] + tap * s.dilation[axis]) as isize;
    let index = index - s.padding[axis] as isize;
    (0..size as isize).contains(&index).then_some(index as usize)
}

#[test]
fn every_tap_of_every_window_sees_its_element() {
    for_each_geometry(|input, sliding, windows| {
        let image: Vec<i32> = (0..windows.image_length() as i32).collect();
        let mut plane = vec![-7; windows.plane_length()];
        windows.spread(&image, -1, &mut plane);
        let mut seen = vec![-1; image.len()];
        for y in 0..windows.output()[0] {
            for x in 0..windows.output()[1] {
                let mut inside = 0;
                let mut first = None;
                for (tap, start) in windows.starts().enumerate() {
                    let [row, column] =
                        [tap / sliding.kernel_size[1], tap % sliding.kernel_size[1]];
                    let row = coordinate(&sliding, 0, input[0], y, row);
                    let column = coordinate(&sliding, 1, input[1], x, column);
                    assert_eq!(windows.taps_of_row(y).contains(&tap), row.is_some());
                    let index = row.zip(column).map(|(row, column)| row * input[1] + column);
                    let expected = index.map_or(-1, |index| image[index]);
                    let found = plane[start + y * windows.plane_row() + x];
                    assert_eq!(found, expected, "{sliding:?} {input:?} at {y}, {x}, tap {tap}");
                    if let Some(index) = index {
                        let offset = windows.image_offsets().nth(tap).unwrap();
                        let start = windows.image_start([y, x]);
                        assert_eq!(start.wrapping_add(offset), index);
                        seen[index] = image[index];
                        inside += 1;
                        first = first.or(Some(tap));
                    }
                }
                assert_eq!(windows.taps_inside([y, x], false), inside);
                assert_eq!(windows.first_tap([y, x]), first, "{sliding:?} {input:?}");
            }
        }
        let mut back = vec![-7; image.len()];
        windows.collect(&plane, -1, &mut back);
        assert!(back.iter().zip(&seen).all(|(&back, &seen)| seen == -1 || back == seen));
        assert!(back.iter().zip(&image).all(|(&back, &image)| back == -1 || back == image));
    });
}

#[test]
fn the_number_of_windows_is_pytorchs() {
    let output = |input, kernel, stride, padding, ceil_mode| {
        let sliding = Sliding {
            kernel_size: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1, 1],
            ceil_mode,
        };
        Windows::new("test", [input; 2], &sliding).unwrap().output()[0]
    };
    assert_eq!(output(28, 3, 1, 0, false), 26);
    assert_eq!(output(28, 3, 1, 1, false), 28);
    assert_eq!(output(7, 2, 2, 0, false), 3);
    assert_eq!(output(7, 2, 2, 0, true), 4);
    assert_eq!(output(4, 2, 2, 1, true), 3);
    // The window that would start in the padding at the far end is left out.
    assert_eq!(output(5, 2, 3, 1, true), 2);
    assert_eq!(output(2, 1, 3, 0, true), 1);
    assert_eq!(output(2, 3, 2, 0, true), 1);
}

#[test]
fn settings_that_fit_no_window_are_refused() {
    let base = Sliding {
        kernel_size: [3, 3],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        ceil_mode: false,
    };
    let refuse = |sliding: Sliding| Windows::new("here", [4, 2], &sliding).unwrap_err().to_string();
    assert_eq!(
        refuse(base),
        "here: a kernel of [3, 3] with dilation [1, 1] does not fit an image of [4, 2] with \
         padding [0, 0]"
    );
    assert_eq!(
        refuse(Sliding { stride: [1, 0], ..base }),
        "here: the stride must be at least 1, got [1, 0]"
    );
    refuse(Sliding { dilation: [0, 1], ..base });
    refuse(Sliding { kernel_size: [0, 0], ..base });
    refuse(Sliding { padding: [usize::MAX, 1], ..base });
    refuse(Sliding { dilation: [usize::MAX, 1], padding: [1, 1], ..base });
    refuse(Sliding { padding: [usize::MAX / 4, usize::MAX / 4], ..base });
}
