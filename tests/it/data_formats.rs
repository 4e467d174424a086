//! Data formats from outside: every way a file can be wrong has its own error, of one line, that names the file; and
//! nothing a file holds can make the readers panic.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use gaitprop::data::{self, Dataset, Features, LoadOptions, Scaling, idx, npz};
use gaitprop::{Error, Result};
use proptest::prelude::*;
use tempfile::TempDir;

const TRAIN_X: &str = "train-images-idx3-ubyte";
const TRAIN_Y: &str = "train-labels-idx1-ubyte";
const TEST_X: &str = "t10k-images-idx3-ubyte";
const TEST_Y: &str = "t10k-labels-idx1-ubyte";

fn images(count: u32, rows: u32, cols: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 3];
    for size in [count, rows, cols] {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(pixels);
    bytes
}

fn labels(values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, 1];
    bytes.extend((values.len() as u32).to_be_bytes());
    bytes.extend(values);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

fn load(path: &Path) -> Result<Dataset> {
    data::load(path.to_str().unwrap(), &LoadOptions::default())
}

#[track_caller]
fn says(error: &Error, what: &str) {
    assert!(error.to_string().contains(what), "{error}");
}

/// The message of a failure, after checking what holds for all: one line, with the name `file` in it.
#[track_caller]
fn message<T>(result: Result<T>, file: &str) -> String {
    let message = result.err().expect("an error").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    assert!(message.contains(file), "{file} is not named: {message}");
    message
}

/// The error of a folder whose training images are `bytes`, the rest being a sound set of two 1×2 pictures.
fn with_train_images(bytes: Vec<u8>) -> Error {
    let dir = folder(&[(TRAIN_X, bytes), (TRAIN_Y, labels(&[0, 1])), (TEST_X, images(1, 1, 2, &[5, 6])), (TEST_Y, labels(&[1]))]);
    let error = load(dir.path()).expect_err("an error");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.contains(TRAIN_X), "{text}");
    error
}

// Specifications

#[test]
fn a_spec_that_names_nothing_says_what_is_accepted() {
    let dir = folder(&[("notes.txt", b"hello".to_vec())]);
    let text = message(load(&dir.path().join("nowhere")), "nowhere");
    assert!(text.contains("does not exist") && text.contains("digits") && text.contains(".npz"), "{text}");
    let text = message(load(&dir.path().join("notes.txt")), "notes.txt");
    assert!(text.contains("not a data set") && text.contains("digits") && text.contains(".npz"), "{text}");
    for name in ["", "mnist"] {
        says(&data::load(name, &LoadOptions::default()).unwrap_err(), "does not exist");
    }
}

// Digits

#[test]
fn digits_are_what_was_published() {
    let d = data::load("digits", &LoadOptions::default()).unwrap();
    assert_eq!((d.name.as_str(), d.features, d.classes, d.image), ("digits", 64, 10, Some((8, 8))));
    assert_eq!((d.train.len(), d.test.len(), d.train.labels[0]), (1438, 359, 0));
    let mut counts = [0; 10];
    for &l in d.train.labels.iter().chain(&d.test.labels) {
        counts[l as usize] += 1;
    }
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let sum = |x: &Features| (0..x.len()).map(|i| x.get(i)).sum::<f64>();
    assert_eq!((sum(&d.train.x) + sum(&d.test.x), sum(&d.test.x)), (561_718.0, 111_414.0));

    let p = d.prepare::<f32>(Scaling::Unit).unwrap();
    assert!(p.train.x.iter().all(|v| (0.0..=1.0).contains(v)) && p.train.x.contains(&1.0));
}

#[test]
fn limits_and_classes_are_obeyed() {
    let options = |classes, limit_train, limit_test| LoadOptions { classes, limit_train, limit_test };
    let all = data::load("digits", &LoadOptions::default()).unwrap();
    let d = data::load("digits", &options(Some(12), Some(100), Some(10_000))).unwrap();
    assert_eq!((d.classes, d.train.len(), d.test.len()), (12, 100, 359));
    assert_eq!((d.train.x.len(), &d.train.labels[..]), (6400, &all.train.labels[..100]));

    let text = message(data::load("digits", &options(Some(5), None, None)), "embedded digits");
    assert!(text.contains("label 5 at index 5"), "{text}");
    for bad in [0, 1, data::MAX_CLASSES + 1, usize::MAX] {
        let text = message(data::load("digits", &options(Some(bad), None, None)), "embedded digits");
        assert!(text.contains("2 to 65536"), "{text}");
    }
    for (train, test, part) in [(Some(0), None, "training"), (None, Some(0), "test")] {
        let text = message(data::load("digits", &options(None, train, test)), "embedded digits");
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn scaled_training_sets_have_mean_0_and_deviation_1() {
    let d = data::load("digits", &LoadOptions { limit_train: Some(700), ..Default::default() }).unwrap();
    let moments = |values: &[f64]| {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
    };
    let x = d.prepare::<f64>(Scaling::Standard).unwrap().train.x;
    let (mean, sd) = moments(&x);
    assert!(mean.abs() < 1e-12 && (sd - 1.0).abs() < 1e-12, "{mean} {sd}");

    let x = d.prepare::<f64>(Scaling::PerFeature).unwrap().train.x;
    let mut constant = 0;
    for j in 0..64 {
        let column: Vec<f64> = x.iter().skip(j).step_by(64).copied().collect();
        let (mean, sd) = moments(&column);
        assert!(mean.abs() < 1e-12, "feature {j}: {mean}");
        match sd == 0.0 {
            true => constant += 1,
            false => assert!((sd - 1.0).abs() < 1e-12, "feature {j}: {sd}"),
        }
    }
    assert!(constant > 0, "the digits' borders hold features that never change");
}

#[test]
fn one_hot_matches_labels() {
    let d = data::load("digits", &LoadOptions::default()).unwrap();
    let mut out = vec![9.0f32; d.test.len() * 10];
    data::one_hot(&d.test.labels, 10, &mut out);
    for (row, &label) in out.chunks(10).zip(&d.test.labels) {
        assert_eq!(row.iter().sum::<f32>(), 1.0);
        assert_eq!(row[label as usize], 1.0);
    }
}

// IDX

#[test]
fn four_files_are_read_whatever_their_spelling() {
    let (train, test) = (images(2, 1, 2, &[1, 2, 3, 255]), images(1, 1, 2, &[5, 6]));
    for style in 0..4 {
        let name = |n: &str| {
            let n = if style % 2 == 1 { n.replacen("-idx", ".idx", 1) } else { n.to_owned() };
            if style / 2 == 1 { n + ".gz" } else { n }
        };
        let pack = |b: &[u8]| if style / 2 == 1 { gz(b) } else { b.to_vec() };
        let dir = folder(&[
            (&name(TRAIN_X), pack(&train)),
            (&name(TRAIN_Y), pack(&labels(&[9, 1]))),
            (&name(TEST_X), pack(&test)),
            (&name(TEST_Y), pack(&labels(&[1]))),
            ("README", b"not data".to_vec()),
        ]);
        let d = load(dir.path()).unwrap();
        assert_eq!((d.features, d.classes, d.image, d.full_scale), (2, 10, Some((1, 2)), 255.0));
        assert_eq!((d.train.x, d.train.labels), (Features::Bytes(vec![1, 2, 3, 255]), vec![9, 1]));
        assert_eq!((d.test.x, d.test.labels), (Features::Bytes(vec![5, 6]), vec![1]));
    }
}

#[test]
fn gzip_is_told_by_content_and_plain_files_go_first() {
    let dir = folder(&[
        (&format!("{TRAIN_X}.gz"), images(1, 1, 1, &[1])), // plain in spite of its name
        (TRAIN_Y, gz(&labels(&[3]))),                      // and the other way round
        (TEST_X, images(1, 1, 1, &[2])),
        (&format!("{TEST_X}.gz"), b"not looked at".to_vec()),
        (TEST_Y, labels(&[4])),
    ]);
    let d = load(dir.path()).unwrap();
    assert_eq!((d.train.labels, d.test.x), (vec![3], Features::Bytes(vec![2])));
}

#[test]
fn a_single_pair_is_split() {
    let pixels: Vec<u8> = (0..24).collect();
    let dir = folder(&[
        ("my-set-images-idx3-ubyte.gz", gz(&images(12, 2, 1, &pixels))),
        ("my-set-labels.idx1-ubyte", labels(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1])),
    ]);
    let d = load(dir.path()).unwrap();
    assert_eq!((d.test.labels, d.test.x), (vec![4, 9], Features::Bytes(vec![8, 9, 18, 19])));
    assert_eq!((d.train.len(), d.image), (10, Some((2, 1))));

    let dir = folder(&[("a-images-idx3-ubyte", images(4, 1, 1, &[0; 4])), ("a-labels-idx1-ubyte", labels(&[0; 4]))]);
    let text = message(load(dir.path()), dir.path().file_name().unwrap().to_str().unwrap());
    assert!(text.contains("4 samples") && text.contains("at least 5"), "{text}");
}

#[test]
fn folders_without_a_clear_set_are_refused() {
    let name_of = |dir: &TempDir| dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let (x, y) = (images(1, 1, 1, &[0]), labels(&[0]));

    let dir = folder(&[("readme.txt", vec![])]);
    assert!(message(load(dir.path()), &name_of(&dir)).contains("no IDX files"));

    let full = [(TRAIN_X, x.clone()), (TRAIN_Y, y.clone()), (TEST_X, x.clone()), (TEST_Y, y.clone())];
    for missing in 0..4 {
        let files: Vec<_> = (0..4).filter(|&i| i != missing).map(|i| full[i].clone()).collect();
        let text = message(load(folder(&files).path()), full[missing].0);
        assert!(text.contains("lacks"), "{text}");
    }
    let dir = folder(&[("a-images-idx3-ubyte", x.clone())]);
    assert!(message(load(dir.path()), &name_of(&dir)).contains("lacks a-labels-idx1-ubyte"));

    let dir = folder(&[("a-images-idx3-ubyte", x), ("b-labels-idx1-ubyte", y)]);
    let text = message(load(dir.path()), &name_of(&dir));
    assert!(text.contains("several") && text.contains("\"a\", \"b\""), "{text}");
}

#[test]
fn each_fault_of_an_idx_file_has_its_error() {
    let good = images(2, 1, 2, &[1, 2, 3, 4]);
    let fault = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        with_train_images(bytes)
    };
    says(&fault(0, 7), "starts with 0x07000803");
    says(&fault(2, 0x0d), "type 0x0d");
    says(&fault(3, 1), "1 dimensions, expected 3");
    says(&fault(7, 0), "empty");
    says(&fault(11, 0), "empty");
    says(&fault(7, 1), "follows the 2 bytes");
    says(&fault(7, 3), "requires 6 bytes of data, 4 follow");
    says(&with_train_images(vec![]), "0 bytes of 16");
    says(&with_train_images(good[..15].to_vec()), "15 bytes of 16");
    says(&with_train_images(b"PK\x03\x04....".to_vec()), "starts with 0x504b0304");
    let huge = images(u32::MAX, u32::MAX, u32::MAX, &[1]);
    says(&with_train_images(huge), "impossible IDX header");
    let text = with_train_images(images(3, 1, 2, &[0; 6])).to_string();
    assert!(text.contains("3 images") && text.contains("2 labels") && text.contains(TRAIN_Y), "{text}");
    let text = with_train_images(labels(&[0, 1])).to_string();
    assert!(text.contains("1 dimensions, expected 3"), "{text}");
}

/// A header may promise what it likes: memory follows the bytes that arrive.
#[test]
fn a_promise_of_exabytes_costs_nothing() {
    let promise = images(u32::MAX, 1 << 16, 1 << 14, &[1, 2, 3]);
    for bytes in [promise.clone(), gz(&promise)] {
        says(&with_train_images(bytes), "3 follow");
    }
}

#[test]
fn damaged_gzip_is_called_so() {
    let whole = gz(&images(2, 1, 2, &[1, 2, 3, 4]));
    let mut checksum = whole.clone();
    let at = checksum.len() - 8; // the CRC's first byte
    checksum[at] ^= 1;
    let mut garbage_behind = whole.clone();
    garbage_behind.extend(b"garbage garbage garbage");
    let mut body = whole.clone();
    body[10] = 0xff; // a block type that does not exist
    for bytes in [checksum, garbage_behind, body, whole[..12].to_vec(), whole[..whole.len() - 1].to_vec()] {
        let error = with_train_images(bytes);
        says(&error, "gzip");
    }
    // A second member is more data, as it is for gunzip; and a bomb is stopped one byte past the promise.
    let mut members = whole;
    members.extend(gz(&[5]));
    let mut bomb = images(1, 1, 2, &[]);
    bomb.resize(30 << 20, 0);
    for bytes in [members, gz(&bomb)] {
        let error = with_train_images(bytes);
        says(&error, "too long");
    }
}

#[test]
fn truncation_at_every_length_is_an_error() {
    let plain = images(3, 2, 2, &[7, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9]);
    for whole in [plain.clone(), gz(&plain)] {
        assert!(idx::read_images(&whole[..], Path::new("whole")).is_ok());
        for len in 0..whole.len() {
            message(idx::read_images(&whole[..len], Path::new("cut")), "cut");
        }
    }
}

#[test]
fn test_pictures_must_match_and_labels_be_in_range() {
    let files = |test: Vec<u8>, test_labels: &[u8]| {
        folder(&[(TRAIN_X, images(1, 2, 3, &[0; 6])), (TRAIN_Y, labels(&[0])), (TEST_X, test), (TEST_Y, labels(test_labels))])
    };
    // The same number of pixels, but other pictures.
    let text = message(load(files(images(1, 3, 2, &[0; 6]), &[0]).path()), TEST_X);
    assert!(text.contains("[3, 2]") && text.contains("[2, 3]"), "{text}");

    let dir = files(images(3, 2, 3, &[0; 18]), &[0, 26, 1]);
    let text = message(load(dir.path()), TEST_Y);
    assert!(text.contains("label 26 at index 1") && text.contains("10 classes"), "{text}");
    let options = LoadOptions { classes: Some(27), ..Default::default() };
    assert_eq!(data::load(dir.path().to_str().unwrap(), &options).unwrap().classes, 27);
}

// npz

/// An archive of members given as raw bytes.
fn archive(members: &[(&str, Vec<u8>)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        let options = zip::write::SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An npy member with the given dictionary and data.
fn npy(dictionary: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((dictionary.len() as u16 + 1).to_le_bytes());
    out.extend(dictionary.as_bytes());
    out.push(b'\n');
    out.extend(bytes);
    out
}

fn array(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    npy(&format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"), bytes)
}

fn f8(shape: &str, values: &[f64]) -> Vec<u8> {
    array("<f8", shape, &values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
}

/// Loads the archive of these members as a data set, through a file named `set.npz`.
fn load_members(members: &[(&str, Vec<u8>)]) -> Result<Dataset> {
    let dir = folder(&[("set.npz", archive(members, zip::CompressionMethod::Deflated))]);
    load(&dir.path().join("set.npz"))
}

/// Reads one member as array `a`.
fn read_member(bytes: Vec<u8>) -> Result<npz::Array> {
    let bytes = archive(&[("a.npy", bytes)], zip::CompressionMethod::Stored);
    let mut arrays = npz::read_from(Cursor::new(bytes), Path::new("set.npz"), |_| true)?;
    Ok(arrays.remove("a").expect("array a"))
}

#[test]
fn arrays_survive_a_round_trip_bit_by_bit() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("round.npz");
    let odd = [0.1, -0.0, f64::MIN_POSITIVE / 8.0, f64::INFINITY, f64::NAN, f64::MAX];
    let long: Vec<f64> = (0..20_000).map(f64::from).collect();
    let arrays: [(&str, &[usize], &[f64]); 5] = [
        ("odd", &[2, 3], &odd),
        ("layer.0/W", &[1, 1, 1, 1], &[2.5]),
        ("scalar", &[], &[7.0]),
        ("nothing", &[3, 0], &[]),
        ("long", &[20_000], &long),
    ];
    npz::write(&path, &arrays).unwrap();
    let back = npz::read(&path, |_| true).unwrap();
    assert_eq!(back.len(), 5);
    for (name, shape, values) in arrays {
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(back[name].shape, shape, "{name}");
        assert_eq!(bits(&back[name].data), bits(values), "{name}");
    }
    let some = npz::read(&path, |name| name == "scalar").unwrap();
    assert_eq!(some.keys().collect::<Vec<_>>(), ["scalar"]);

    // Same arrays, same bytes.
    let first = fs::read(&path).unwrap();
    npz::write(&path, &arrays).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    let mut zip = zip::ZipArchive::new(Cursor::new(first)).unwrap();
    assert_eq!(zip.by_name("odd.npy").unwrap().compression(), zip::CompressionMethod::Stored);
}

/// Arrays that NumPy saved have the same bytes when they are written again: header, padding and data.
#[test]
fn members_are_what_numpy_writes() {
    let dir = TempDir::new().unwrap();
    let again = dir.path().join("again.npz");
    let files: Vec<PathBuf> = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut compared = 0;
    for path in files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "npz")) {
        let arrays = npz::read(&path, |_| true).unwrap();
        let list: Vec<_> = arrays.iter().map(|(name, a)| (&name[..], &a.shape[..], &a.data[..])).collect();
        npz::write(&again, &list).unwrap();
        let mut archives = [&again, &path].map(|path| zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap());
        assert_eq!(archives[0].len(), archives[1].len());
        for name in arrays.keys() {
            let [ours, numpys] = archives.each_mut().map(|zip| {
                let mut bytes = Vec::new();
                zip.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            });
            assert!(ours == numpys, "{path:?}: {name}");
            compared += 1;
        }
    }
    assert!(compared > 3000, "only {compared} arrays");
}

#[test]
fn a_failed_write_leaves_everything_as_it_was() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("keep.npz");
    let files = || fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    npz::write(&path, &[("a", &[1], &[1.0])]).unwrap();
    let before = fs::read(&path).unwrap();

    let text = message(npz::write(&path, &[("a", &[2, 2], &[1.0])]), "keep.npz");
    assert!(text.contains("[2, 2] but 1 values"), "{text}");
    message(npz::write(&path, &[("a", &[usize::MAX, 2, 0], &[])]), "keep.npz");
    // Found only while writing: the second array of the same name.
    message(npz::write(&path, &[("a", &[1], &[2.0]), ("a", &[1], &[3.0])]), "keep.npz");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(files(), ["keep.npz"]);

    message(npz::write(dir.path().join("no/such/folder.npz"), &[]), "folder.npz");
    fs::create_dir_all(dir.path().join("taken.npz/inside")).unwrap();
    message(npz::write(dir.path().join("taken.npz"), &[("a", &[1], &[1.0])]), "taken.npz");
    let mut left = files();
    left.sort();
    assert_eq!(left, ["keep.npz", "taken.npz"]);
}

#[cfg(unix)]
#[test]
fn a_written_file_is_no_more_secret_than_any_other() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().unwrap();
    npz::write(dir.path().join("a.npz"), &[]).unwrap();
    fs::write(dir.path().join("b"), b"").unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("a.npz"), mode("b"));
}

/// Written by numpy: `np.savez(b, x=np.asfortranarray(np.arange(6, dtype='>f4').reshape(2, 3)))`. Its local header says
/// 0xFFFFFFFF for both sizes.
const BY_NUMPY: &str = "\
    504b03042d00000000000000210009d9d18fffffffffffffffff05001400782e6e7079010010009800000000000000980000\
    0000000000934e554d5059010076007b276465736372273a20273e6634272c2027666f727472616e5f6f72646572273a2054\
    7275652c20277368617065273a2028322c2033292c207d202020202020202020202020202020202020202020202020202020\
    20202020202020202020202020202020202020202020202020202020202020200a00000000404000003f8000004080000040\
    00000040a00000504b01022d032d00000000000000210009d9d18f9800000098000000050000000000000000000000800100\
    000000782e6e7079504b0506000000000100010033000000cf0000000000";

#[test]
fn an_archive_by_numpy_is_read() {
    let bytes: Vec<u8> = (0..BY_NUMPY.len()).step_by(2).map(|i| u8::from_str_radix(&BY_NUMPY[i..i + 2], 16).unwrap()).collect();
    assert_eq!(bytes[18..26], [0xff; 8], "sizes of the local header");
    let arrays = npz::read_from(Cursor::new(bytes), Path::new("by-numpy"), |_| true).unwrap();
    assert_eq!(arrays["x"], npz::Array { shape: vec![2, 3], data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] });
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

#[test]
fn a_golden_file_is_read() {
    let arrays =
        npz::read(golden().join("o01_w8_h0_b1_ortho_lin.npz"), |name| ["x", "onehot", "W0", "act1"].contains(&name)).unwrap();
    let shapes: Vec<_> = arrays.iter().map(|(name, a)| (name.as_str(), &a.shape[..])).collect();
    assert_eq!(shapes, [("W0", &[8, 8][..]), ("act1", &[1, 8]), ("onehot", &[1, 4]), ("x", &[1, 8])]);
    assert_eq!(arrays["onehot"].data.iter().sum::<f64>(), 1.0);
    // W0 is orthogonal in this file: every column has length 1.
    for j in 0..8 {
        let square: f64 = (0..8).map(|i| arrays["W0"].data[i * 8 + j].powi(2)).sum();
        assert!((square - 1.0).abs() < 1e-12, "column {j}: {square}");
    }
}

#[test]
fn each_fault_of_an_array_has_its_error() {
    let good = f8("(2,)", &[1.0, 2.0]);
    assert_eq!(read_member(good.clone()).unwrap().data, [1.0, 2.0]);

    let size = |shape: &str, n: usize| read_member(f8(shape, &vec![0.0; n])).unwrap_err();
    says(&size("(2,)", 1), "must hold 16 bytes");
    assert!(size("(2,)", 1).to_string().contains("holds 8"));
    assert!(size("(2,)", 3).to_string().contains("holds more"));
    let huge = format!("({0}, {0})", u64::MAX / 2);
    assert!(size(&huge, 1).to_string().contains("memory can address"));
    // Promised petabytes are not reserved.
    says(&size("(1000000000000000,)", 1), "must hold");

    for descr in ["<f2", "<c16", "|O", "<U3", ">f16", "<M8[ns]"] {
        let text = message(read_member(array(descr, "(1,)", &[0; 16])), "set.npz");
        assert!(text.contains(descr) && text.contains("float64"), "{text}");
    }
    let mut version = good.clone();
    version[6] = 9;
    for (bytes, cause) in [
        (b"not an npy".to_vec(), "does not start with"),
        (vec![], "ends inside"),
        (good[..40].to_vec(), "ends inside"),
        (version, "version 9.0"),
        (npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}", &[0; 8]), "structured"),
        (npy("{'descr': '<f8', 'shape': (1,)}", &[0; 8]), "'fortran_order' is missing"),
        (npy(&"(".repeat(50_000), &[]), "expected '{'"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{".to_vec(), "4294967295 bytes long"),
    ] {
        let text = message(read_member(bytes), "set.npz");
        assert!(text.contains(cause) && text.contains("\"a\""), "{text}");
    }
}

#[test]
fn archives_that_are_none_or_damaged_say_so() {
    let dir = folder(&[("text.npz", b"hello".to_vec()), ("empty.npz", vec![])]);
    for name in ["text.npz", "empty.npz"] {
        let text = message(load(&dir.path().join(name)), name);
        assert!(text.contains("not an npz"), "{text}");
    }
    let mut bytes = archive(&[("a.npy", f8("(2,)", &[1.0, 2.0]))], zip::CompressionMethod::Stored);
    let at = bytes.windows(8).position(|w| w == 2.0f64.to_le_bytes()).unwrap();
    bytes[at] ^= 1;
    let error = npz::read_from(Cursor::new(bytes), Path::new("set.npz"), |_| true).unwrap_err();
    says(&error, "cannot be unpacked");
    assert!(matches!(npz::read("no-such.npz", |_| true), Err(Error::Io { .. })));
}

#[test]
fn a_data_set_of_floats_is_split_and_scaled() {
    let x: Vec<f64> = (0..12).map(|i| f64::from(i) - 8.0).collect();
    let d = load_members(&[("x.npy", f8("(6, 2)", &x)), ("y.npy", f8("(6,)", &[0.0, 1.0, 2.0, 0.0, 3.0, 1.0]))]).unwrap();
    assert_eq!((d.name.as_str(), d.features, d.image, d.train.len(), d.test.len()), ("set", 2, None, 5, 1));
    assert_eq!((d.test.labels.clone(), d.classes), (vec![3], 4));
    assert_eq!((d.test.x.clone(), d.full_scale), (Features::Floats(vec![0.0, 1.0]), 8.0));
    assert_eq!(d.prepare::<f64>(Scaling::Unit).unwrap().train.x[..2], [-1.0, -0.875]);
}

#[test]
fn bytes_stay_bytes_and_pictures_keep_their_shape() {
    let members = |x: &'static str, y: &'static str| {
        [
            (x, array("|u1", "(2, 1, 3)", &[0, 51, 255, 1, 2, 3])),
            (y, array("<i8", "(2,)", &[1u64, 0].map(u64::to_le_bytes).concat())),
            ("x_test.npy", array("|u1", "(1, 1, 3)", &[9, 9, 9])),
            ("y_test.npy", array("|u1", "(1,)", &[1])),
            ("notes.txt", b"passed over".to_vec()),
        ]
    };
    for (x, y) in [("x.npy", "y.npy"), ("x_train.npy", "y_train.npy")] {
        let d = load_members(&members(x, y)).unwrap();
        assert_eq!((d.features, d.image, d.classes, d.full_scale), (3, Some((1, 3)), 2, 255.0));
        assert_eq!((d.train.x.clone(), d.test.labels.clone()), (Features::Bytes(vec![0, 51, 255, 1, 2, 3]), vec![1]));
        assert_eq!(d.prepare::<f64>(Scaling::Unit).unwrap().train.x[1], 0.2);
    }
}

#[test]
fn each_fault_of_a_data_set_has_its_error() {
    let x = || ("x.npy", f8("(6, 2)", &[0.5; 12]));
    let y = || ("y.npy", f8("(6,)", &[0.0; 6]));
    let fault = |members: &[(&str, Vec<u8>)]| message(load_members(members), "set.npz");

    let text = fault(&[x(), ("labels.npy", f8("(6,)", &[0.0; 6]))]);
    assert!(text.contains("lacks array \"y\"") && text.contains("\"labels\", \"x\""), "{text}");
    assert!(fault(&[]).contains("lacks array \"x\""));
    assert!(fault(&[x(), y(), ("x_test.npy", f8("(1, 2)", &[0.0; 2]))]).contains("lacks array \"y_test\""));
    assert!(fault(&[x(), y(), ("y_test.npy", f8("(1,)", &[0.0]))]).contains("lacks array \"x_test\""));

    assert!(fault(&[("x.npy", f8("(6,)", &[0.0; 6])), y()]).contains("samples × features"));
    assert!(fault(&[("x.npy", f8("(6, 1, 1, 2)", &[0.0; 12])), y()]).contains("[6, 1, 1, 2]"));
    assert!(fault(&[x(), ("y.npy", f8("(6, 1)", &[0.0; 6]))]).contains("one label per sample"));
    assert!(fault(&[x(), ("y.npy", f8("(5,)", &[0.0; 5]))]).contains("6 samples but array \"y\" holds 5 labels"));
    assert!(fault(&[("x.npy", f8("(0, 2)", &[])), ("y.npy", f8("(0,)", &[]))]).contains("empty"));
    assert!(fault(&[("x.npy", f8("(6, 0)", &[])), y()]).contains("empty"));
    assert!(fault(&[("x.npy", f8("(4, 3)", &[0.0; 12])), ("y.npy", f8("(4,)", &[0.0; 4]))]).contains("at least 5"));
    let other = [x(), y(), ("x_test.npy", f8("(1, 3)", &[0.0; 3])), ("y_test.npy", f8("(1,)", &[0.0]))];
    assert!(fault(&other).contains("[3], training samples [2]"));

    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e39] {
        let mut values = [0.5; 12];
        values[7] = bad;
        let text = fault(&[("x.npy", f8("(6, 2)", &values)), y()]);
        assert!(text.contains("array \"x\", sample 3, feature 1"), "{text}");
        let test = [x(), y(), ("x_test.npy", f8("(2, 2)", &[0.0, 0.0, bad, 0.0])), ("y_test.npy", f8("(2,)", &[0.0; 2]))];
        assert!(fault(&test).contains("array \"x_test\", sample 1, feature 0"));
    }
    for bad in [0.5, -1.0, f64::NAN, f64::INFINITY, 4_294_967_296.0] {
        let text = fault(&[x(), ("y.npy", f8("(6,)", &[0.0, 0.0, bad, 0.0, 0.0, 0.0]))]);
        assert!(text.contains("array \"y\", index 2") && text.contains("whole number"), "{text}");
    }
    let text = fault(&[x(), ("y.npy", f8("(6,)", &[0.0, 0.0, 70_000.0, 0.0, 0.0, 0.0]))]);
    assert!(text.contains("number of classes is 70001"), "{text}");
    let unseen = [x(), y(), ("x_test.npy", f8("(1, 2)", &[0.0; 2])), ("y_test.npy", f8("(1,)", &[2.0]))];
    let text = fault(&unseen);
    assert!(text.contains("label 2 at index 0") && text.contains("2 classes"), "{text}");
}

#[test]
fn truncated_archives_are_errors() {
    let whole = archive(&[("x.npy", f8("(2, 1)", &[1.0, 2.0]))], zip::CompressionMethod::Deflated);
    for len in 0..whole.len() {
        message(npz::read_from(Cursor::new(&whole[..len]), Path::new("cut"), |_| true), "cut");
    }
}

// Nothing panics

/// Tries all readers; what they say is not looked at beyond being one line.
fn try_everything(bytes: &[u8]) {
    let path = Path::new("fuzzed");
    let mut failures = Vec::new();
    failures.extend(idx::read_images(bytes, path).err());
    failures.extend(idx::read_labels(bytes, path).err());
    failures.extend(npz::read_from(Cursor::new(bytes), path, |_| true).err());
    for error in failures {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        try_everything(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_sound_start_never_panic(
        start in prop::sample::select(vec![
            vec![0, 0, 8, 3], vec![0, 0, 8, 1], vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1], vec![0x1f, 0x8b, 8, 0],
            vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], b"PK\x03\x04".to_vec(), b"PK\x05\x06".to_vec(),
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        try_everything(&[start, bytes].concat());
    }

    #[test]
    fn random_bytes_as_a_member_never_panic(
        text in "[{}()',:0-9LTrueFals<>bif|\n -]{0,60}",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let _ = read_member(npy(&text, &bytes));
        let _ = read_member(bytes);
    }

    #[test]
    fn random_shapes_never_panic(
        shape in prop::collection::vec(prop_oneof![0u64..4, any::<u64>()], 0..5),
        fortran in any::<bool>(),
        len in 0usize..40,
    ) {
        let sizes: String = shape.iter().map(|s| format!("{s}, ")).collect();
        let order = if fortran { "True" } else { "False" };
        let member = npy(&format!("{{'descr': '|i1', 'fortran_order': {order}, 'shape': ({sizes}), }}"), &vec![1; len]);
        if let Ok(array) = read_member(member) {
            prop_assert_eq!(array.data.len(), len);
            prop_assert_eq!(shape.iter().product::<u64>(), len as u64);
        }
    }

    #[test]
    fn damaged_files_never_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), which in 0usize..4) {
        let x = f8("(6, 2)", &[0.5; 12]);
        let mut bytes = match which {
            0 => images(2, 2, 2, &[1; 8]),
            1 => gz(&images(2, 2, 2, &[1; 8])),
            2 => archive(&[("x.npy", x)], zip::CompressionMethod::Stored),
            _ => archive(&[("x.npy", x)], zip::CompressionMethod::Deflated),
        };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        try_everything(&bytes);
    }

    #[test]
    fn any_arrays_survive_a_round_trip(values in prop::collection::vec(any::<f64>(), 0..50), two in any::<bool>()) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("any.npz");
        let shape = if two { vec![values.len(), 1] } else { vec![values.len()] };
        npz::write(&path, &[("v", &shape, &values)]).unwrap();
        let back = npz::read(&path, |_| true).unwrap().remove("v").unwrap();
        prop_assert_eq!(back.shape, shape);
        prop_assert!(back.data.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
    }
}
