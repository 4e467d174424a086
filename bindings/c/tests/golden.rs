//! The step of `examples/gait_step.c` has the bits of `gaitprop update`, on every golden file.
//!
//! `GAITPROP` names the program; without it, cargo builds and runs it.

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{compiled, root, scratch_folder};

/// An array: sizes and elements.
type Array = (Vec<usize>, Vec<f64>);

fn number<const N: usize>(data: &[u8], at: usize) -> usize {
    (0..N).fold(0, |n, i| n | usize::from(data[at + i]) << (8 * i))
}

/// Reads an archive of uncompressed `<f8` arrays in C order, which golden files are.
fn read_npz(path: &Path) -> BTreeMap<String, Array> {
    let data = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let end = (0..data.len() - 21).rev().find(|&at| data[at..].starts_with(b"PK\x05\x06")).expect("a zip archive");
    let (count, mut entry) = (number::<2>(&data, end + 10), number::<4>(&data, end + 16));
    let mut arrays = BTreeMap::new();
    for _ in 0..count {
        let field = |at| number::<2>(&data, entry + at);
        assert_eq!(field(10), 0, "{}: a compressed member", path.display());
        let (size, name_len, header) = (number::<4>(&data, entry + 20), field(28), number::<4>(&data, entry + 42));
        let name = core::str::from_utf8(&data[entry + 46..][..name_len]).unwrap();
        let start = header + 30 + number::<2>(&data, header + 26) + number::<2>(&data, header + 28);
        if let Some(name) = name.strip_suffix(".npy") {
            arrays.insert(name.to_owned(), read_npy(&data[start..start + size]));
        }
        entry += 46 + name_len + field(30) + field(32);
    }
    arrays
}

fn read_npy(data: &[u8]) -> Array {
    assert!(data.starts_with(b"\x93NUMPY\x01\x00"), "version 1 of the format");
    let text_len = number::<2>(data, 8);
    let text = core::str::from_utf8(&data[10..10 + text_len]).unwrap();
    assert!(text.contains("'<f8'") && text.contains("'fortran_order': False"), "{text}");
    let shape = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').map(str::trim).filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
    let elements = data[10 + text_len..].as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
    (shape, elements)
}

/// Runs `gaitprop update`.
fn update(args: &[&OsStr]) {
    let mut command = match std::env::var_os("GAITPROP") {
        Some(program) => Command::new(program),
        None => {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["run", "--quiet", "--release", "--manifest-path"]).arg(root().join("Cargo.toml")).arg("--");
            cargo
        }
    };
    let out = command.arg("update").args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Writes inputs and results as `gait_step` reads them. Returns the number of layers.
fn write_case(to: &Path, input: &BTreeMap<String, Array>, output: &BTreeMap<String, Array>, settings: [f64; 3]) -> usize {
    let array = |of: &BTreeMap<String, Array>, name: &str| of.get(name).unwrap_or_else(|| panic!("no {name}")).clone();
    let (x, onehot) = (array(input, "x"), array(input, "onehot"));
    let layers = (0..).take_while(|l| input.contains_key(&format!("W{l}"))).count();
    let mut data: Vec<f64> = [layers, x.0[0], x.0[1], onehot.0[1]].map(|n| n as f64).to_vec();
    data.extend(settings);
    for l in 0..layers {
        data.extend(array(input, &format!("W{l}")).0.iter().map(|&n| n as f64));
    }
    data.extend(x.1.iter().chain(&onehot.1));
    for l in 0..layers {
        ["W", "b"].into_iter().for_each(|name| data.extend(array(input, &format!("{name}{l}")).1));
    }
    for l in 0..layers {
        data.extend(array(output, &format!("act{}", l + 1)).1);
        for name in ["dW", "db", "W", "b", "mW", "vW", "mb", "vb"] {
            data.extend(array(output, &format!("{name}{l}")).1);
        }
    }
    fs::write(to, data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
    layers
}

#[test]
fn a_step_in_c_has_the_bits_of_the_program() {
    let (folder, step) = (scratch_folder("golden"), compiled("examples/gait_step.c"));
    let golden: Vec<PathBuf> = fs::read_dir(root().join("tests/golden")).unwrap().map(|e| e.unwrap().path()).collect();
    let mut steps = 0;
    for npz in golden.iter().filter(|path| path.extension() == Some(OsStr::new("npz"))) {
        let linear = npz.to_string_lossy().contains("_lin");
        let (out, case) = (folder.join("out.npz"), folder.join("case.bin"));
        let flags = ["--rule", "gait", "--dtype", "f64", "--gamma", "0.01", "--steps", "1", "--lr", "0.001"];
        let mut args: Vec<&OsStr> = vec![npz.as_os_str(), out.as_os_str()];
        args.extend(flags.iter().chain(linear.then_some(&"--linear")).map(OsStr::new));
        update(&args);
        let input = read_npz(npz);
        write_case(&case, &input, &read_npz(&out), [0.01, if linear { 1.0 } else { 0.1 }, 0.001]);
        let run = Command::new(&step).arg(&case).output().unwrap();
        let (said, wrong) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert!(run.status.success() && said.contains("every bit is equal"), "{}: {said}{wrong}", npz.display());

        // One bit of one weight after the step is enough to fail.
        let mut data = fs::read(&case).unwrap();
        let last = data.len() - 8;
        data[last] ^= 1;
        fs::write(&case, data).unwrap();
        assert!(!Command::new(&step).arg(&case).output().unwrap().status.success(), "{}", npz.display());
        steps += 1;
    }
    assert!(steps >= 10, "{steps} golden files");
    fs::remove_dir_all(folder).unwrap();
}
