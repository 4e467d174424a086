//! Any text as a file of settings: an error of one line that is not much longer than the text, or
//! settings that are the same when they are written and read again; never a panic.
#![no_main]

use gaitprop::{one_line, resolve_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match resolve_text(text) {
        Ok(resolved) => assert_eq!(resolve_text(&resolved).as_ref().map_err(ToString::to_string), Ok(&resolved), "{text:?}"),
        Err(e) => {
            let line = one_line(&e.to_string());
            assert!(!line.is_empty() && !line.contains(char::is_control) && one_line(&line) == line, "{line:?}");
            // Quoted once or twice, each character as an escape of at most ten.
            assert!(line.len() <= 1000 + 20 * text.len(), "{} bytes about {} of {text:?}", line.len(), text.len());
        }
    }
});
