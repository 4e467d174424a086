//! Data sets that are wrong.

use crate::cli::*;
use gaitprop::data::npz::Array;
use std::fs;

#[test]
fn wrong_idx_files_are_named_with_what_is_wrong() {
    let dir = empty();
    let train = "train --data set --hidden 0 --width 12 --epochs 1 --threads 1 --out run";
    write_idx(&dir.path().join("set"));
    run(dir.path(), train).well();

    let compressed = gz(&idx(&[6, 2, 2], &(0..24).collect::<Vec<u8>>()));
    let cut = compressed[..compressed.len() - 12].to_vec();
    let gzipped = "train-images-idx3-ubyte.gz";
    // A file, its new contents (`None` removes it), and the words that the message must contain.
    type Case<'a> = (&'a str, Option<Vec<u8>>, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (gzipped, Some(b"hello, this is no data".to_vec()), &[gzipped, "not an IDX file", "0x68656c6c"]),
        (gzipped, Some(cut), &[gzipped, "truncated gzip"]),
        (gzipped, Some(idx(&[6, 2, 2], &[0; 23])), &[gzipped, "cut short", "24", "23"]),
        (gzipped, Some(idx(&[u32::MAX; 3], &[0; 9])), &[gzipped, "IDX header"]),
        (TRAIN_Y, Some(idx(&[6], &[0, 1, 2, 10, 1, 2])), &[TRAIN_Y, "label 10 at index 3", "10 classes"]),
        (TEST_Y, Some(idx(&[2], &[1, 255])), &[TEST_Y, "label 255 at index 1"]),
        (TRAIN_Y, Some(idx(&[5], &[0, 1, 2, 0, 1])), &[gzipped, "6 images", TRAIN_Y, "5 labels"]),
        (TEST_X, None, &["set", "lacks", TEST_X]),
        (TEST_Y, None, &["set", "lacks", TEST_Y]),
        (TRAIN_Y, None, &["set", "lacks", TRAIN_Y]),
    ];
    for (file, bytes, causes) in cases {
        let dir = empty();
        let set = dir.path().join("set");
        write_idx(&set);
        match bytes {
            Some(bytes) => fs::write(set.join(file), bytes).unwrap(),
            None => fs::remove_file(set.join(file)).unwrap(),
        }
        fails(dir.path(), train, causes);
    }
}

#[test]
fn test_pictures_of_another_size_are_named() {
    let dir = empty();
    write_idx(&dir.path().join("set"));
    fs::write(dir.path().join("set").join(TEST_X), idx(&[2, 2, 3], &[7; 12])).unwrap();
    fails(dir.path(), "train --data set --width 12 --epochs 1 --out run", &[TEST_X, "[2, 3]", "[2, 2]"]);
}

#[test]
fn what_is_no_data_set_is_told_what_one_is() {
    let dir = empty();
    fs::write(dir.path().join("notes.txt"), "hello").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (set, causes) in [
        ("nowhere", &["nowhere", "does not exist", "`digits`", "IDX", ".npz"][..]),
        ("no/such/set.npz", &["set.npz", "does not exist"]),
        ("notes.txt", &["notes.txt", "not a data set", "`digits`", "IDX", ".npz"]),
        ("folder", &["folder", "no IDX files", TRAIN_X]),
        ("digits --classes 3", &["label 3", "3 classes", "--classes"]),
        ("digits --classes 1", &["number of classes is 1 ", "2 to 65536"]),
        ("digits --limit-train 0", &["limit of training samples is 0"]),
        ("digits --limit-test 0", &["limit of test samples is 0"]),
    ] {
        fails(dir.path(), &format!("train --out run --data {set}"), causes);
    }
}

#[test]
fn wrong_npz_data_sets_are_named_with_what_is_wrong() {
    let dir = empty();
    let train = "train --data set.npz --hidden 0 --epochs 1 --threads 1 --out run";
    write_npz(&dir.path().join("set.npz"), &labelled());
    run(dir.path(), train).well();

    let x_with = |value: f64| {
        let mut x = labelled()["x"].clone();
        x.data[13] = value;
        ("x", x)
    };
    let y_with = |value: f64| {
        let mut y = labelled()["y"].clone();
        y.data[3] = value;
        ("y", y)
    };
    let cases: &[((&'static str, Array), &[&str])] = &[
        (("y", array(&[9], [0.0; 9])), &["10 samples", "9 labels"]),
        (("x", array(&[30], [0.0; 30])), &["\"x\"", "[30]", "samples × features"]),
        (x_with(f64::NAN), &["\"x\", sample 4, feature 1", "NaN"]),
        (x_with(f64::INFINITY), &["\"x\", sample 4, feature 1", "inf"]),
        (y_with(-1.0), &["\"y\", index 3 is -1", "whole number"]),
        (y_with(0.5), &["\"y\", index 3 is 0.5", "whole number"]),
        (y_with(f64::NAN), &["\"y\", index 3", "whole number"]),
        (("x_test", array(&[1, 3], [0.0; 3])), &["lacks array \"y_test\""]),
    ];
    for ((name, value), causes) in cases {
        let dir = empty();
        let mut arrays = labelled();
        arrays.insert(name, value.clone());
        write_npz(&dir.path().join("set.npz"), &arrays);
        assert!(fails(dir.path(), train, causes).contains("set.npz"));
    }
    let dir = empty();
    for bytes in [&b"hello"[..], b"", b"PK\x03\x04 but no more"] {
        fs::write(dir.path().join("set.npz"), bytes).unwrap();
        fails(dir.path(), train, &["set.npz", "not an npz"]);
    }
}

/// A batch of all samples, as one may ask for without knowing how many there are.
#[cfg(target_os = "linux")]
#[test]
fn a_batch_beyond_the_data_takes_no_memory() {
    let dir = empty();
    if run_within(LITTLE_MEMORY, dir.path(), "info").code != Some(0) {
        return;
    }
    let line = "train --batch 1048576 --width 2000 --hidden 0 --limit-train 60 --epochs 1 --threads 1 --rule bp --out run";
    run_within(LITTLE_MEMORY, dir.path(), line).well();
    run(dir.path(), &format!("{} --out all", line.replace("1048576", "60").replace("--out run", ""))).well();
    assert!(weights(&dir.path().join("run")) == weights(&dir.path().join("all")));
}

/// Half of the four files is a download that stopped.
#[test]
fn half_of_a_data_set_is_refused() {
    let dir = empty();
    write_idx(&dir.path().join("set"));
    fs::remove_file(dir.path().join("set").join(TEST_X)).unwrap();
    fs::remove_file(dir.path().join("set").join(TEST_Y)).unwrap();
    fails(dir.path(), "train --data set --epochs 1", &["set", TEST_X]);
}

/// The bytes fit in memory, the scaled samples do not. The message says how much memory they need
/// and what to do.
#[cfg(target_os = "linux")]
#[test]
fn data_larger_than_memory_when_scaled_is_an_error() {
    const LIMIT: &str = "ulimit -v 700000";
    let dir = empty();
    if run_within(LIMIT, dir.path(), "info --threads 1").code != Some(0) {
        return; // A sanitiser reserves more than that for itself.
    }
    // 100 MB of bytes are 0.7 GiB of f64.
    let header = |sizes: &[u32]| {
        [&[0, 0, 8, sizes.len() as u8][..], &sizes.iter().flat_map(|s| s.to_be_bytes()).collect::<Vec<_>>()].concat()
    };
    let write = |name: &str, header: &[u8], data: usize| {
        let mut gz = GzEncoder::new(fs::File::create(dir.path().join(name)).unwrap(), Compression::fast());
        gz.write_all(header).unwrap();
        let zeros = vec![0; 1 << 16];
        for at in (0..data).step_by(zeros.len()) {
            gz.write_all(&zeros[..zeros.len().min(data - at)]).unwrap();
        }
        gz.finish().unwrap();
    };
    write("one-images-idx3-ubyte.gz", &header(&[100_000, 10, 100]), 100_000_000);
    write("one-labels-idx1-ubyte.gz", &header(&[100_000]), 100_000);
    let line = "train --data . --width 12 --hidden 1 --epochs 1 --threads 1 --rule bp --dtype f64 --quiet --out run";
    run_within(LIMIT, dir.path(), line).error(&["the scaled samples", "0.7 GiB", "memory", "--limit-train", "--dtype f32"]);
    assert!(!dir.path().join("run").exists());
    run_within(LIMIT, dir.path(), &format!("{line} --limit-train 100 --limit-test 100")).well();
}
