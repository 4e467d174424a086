//! A report in a real browser: Chromium, headless, at the widths of a phone and of a desk, on light paper and dark. Run by `.ci/browser`.
//!
//! What is checked there and nowhere else: nothing on the console, nothing fetched, no chart or picture without a size, no label over another or
//! cut off, nothing wider than the screen, text large and strong enough. Pictures of what was seen are left in `target/screenshots`.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A browser that is told what to do through a pipe, in messages that end with a zero byte (the Chrome DevTools protocol).
struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    /// What came without being asked for.
    events: Vec<Value>,
}

impl Browser {
    fn start(program: &str, profile: &Path) -> Self {
        // The protocol's pipes are descriptors 3 and 4.
        let flags = "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --hide-scrollbars";
        let script =
            format!("exec \"$0\" {flags} --user-data-dir=\"$1\" --remote-debugging-pipe about:blank 3<&0 4>&1 >/dev/null");
        let mut process = Command::new("sh")
            .args(["-c", &script, program])
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser starts");
        let (to, from) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, to, from, session: None, sent: 0, events: Vec::new() }
    }

    fn next(&mut self) -> Value {
        let mut bytes = Vec::new();
        let length = self.from.read_until(0, &mut bytes).expect("the browser answers");
        assert!(length > 0, "the browser has ended: {:?}", self.process.try_wait());
        serde_json::from_slice(bytes.strip_suffix(&[0]).unwrap_or(&bytes)).expect("the browser speaks JSON")
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser listens");
        loop {
            let mut answer = self.next();
            if answer["id"] == json!(self.sent) {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    /// A new empty page, of this size and colour scheme.
    fn page(&mut self, width: u32, scheme: &str) {
        self.session = None;
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let session = self.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        self.session = Some(session["sessionId"].as_str().unwrap().into());
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            self.call(domain, json!({}));
        }
        let phone = width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": 800, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone }),
        );
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn open(&mut self, file: &Path) {
        self.events.clear();
        self.call("Page.navigate", json!({ "url": format!("file://{}", file.display()) }));
        while !self.events.iter().any(|e| e["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// What a script of the test finds in the page (the page's own policy allows it none).
    fn ask(&mut self, script: &str) -> Value {
        let mut answer = self.call("Runtime.evaluate", json!({ "expression": script, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Complaints on the console, and whatever was fetched other than this file and what is inside it.
    fn complaints(&self) -> Vec<String> {
        let complaint = |e: &Value| match e["method"].as_str() {
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded") => Some(e["params"].to_string()),
            Some("Network.requestWillBeSent") => {
                let url = e["params"]["request"]["url"].as_str().unwrap_or_default();
                (!url.starts_with("file://") && !url.starts_with("data:")).then(|| format!("fetched {url}"))
            }
            Some("Network.loadingFailed") => Some(e["params"].to_string()),
            _ => None,
        };
        self.events.iter().filter_map(complaint).collect()
    }

    /// Pictures of the whole page, from the top, each at most this high.
    fn photograph(&mut self, width: u32, slice: u32, name: impl Fn(u32) -> PathBuf) {
        let height = self.ask("Math.ceil(document.documentElement.getBoundingClientRect().height)").as_f64().unwrap() as u32;
        for (number, top) in (0..height.max(1)).step_by(slice as usize).enumerate() {
            let clip = json!({ "x": 0, "y": top, "width": width, "height": slice.min(height - top), "scale": 1 });
            let picture = self.call("Page.captureScreenshot", json!({ "clip": clip, "captureBeyondViewport": true }));
            fs::write(name(number as u32 + 1), from_base64(picture["data"].as_str().unwrap())).unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} in Base64"),
    };
    let text = text.trim_end_matches('=').as_bytes();
    let decode = |four: &[u8]| {
        let bits = four.iter().enumerate().fold(0u32, |bits, (i, &b)| bits | (u32::from(value(b)) << (18 - 6 * i)));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    text.chunks(4).flat_map(decode).collect()
}

fn gaitprop(dir: &Path, line: &str) {
    let ran = Command::new(env!("CARGO_BIN_EXE_gaitprop")).current_dir(dir).args(line.split_whitespace()).output().unwrap();
    assert!(ran.status.success(), "`{line}`: {}", String::from_utf8_lossy(&ran.stderr));
}

/// Two rules with two seeds each, quickly trained; one run measured more, another is still at it.
fn material(dir: &Path) {
    for (rule, lr) in [("gait", "3e-4"), ("bp", "1e-4")] {
        for seed in [1, 2] {
            let size = "--hidden 3 --limit-train 720 --epochs 24";
            gaitprop(dir, &format!("train --rule {rule} --lr {lr} --seed {seed} {size} --quiet --out runs/{rule}/seed-{seed}"));
        }
    }
    let metrics = dir.join("runs/gait/seed-1/metrics.jsonl");
    let mut text = fs::read_to_string(&metrics).unwrap();
    for step in (1..=25u32).map(|i| 10 * i) {
        let layer = |l: u32| {
            let x = f64::from(step) / 250.0;
            json!({ "cosine_with_bp": 1.0 - 0.02 * x * f64::from(4 - l), "condition": 1.0 + x, "update_norm": 0.1 / (x + 0.1), "dead_units": l })
        };
        let layers: Vec<Value> = (0..4).map(layer).collect();
        text += &format!("{}\n", json!({ "event": "diagnostics", "epoch": 1, "step": step, "rule": "gait", "layers": layers }));
    }
    fs::write(&metrics, text).unwrap();
    let metrics = dir.join("runs/bp/seed-2/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs::write(&metrics, lines[..15].join("\n") + "\n{\"event\":\"epo").unwrap();
}

/// Everything that is wrong with the page as it is shown, in words.
const INSPECT: &str = r#"(() => {
    const wrong = [];
    const say = (what) => { if (wrong.length < 40) wrong.push(what); };
    const root = document.documentElement;
    if (root.scrollWidth > window.innerWidth) say(`the page is ${root.scrollWidth} wide on a screen of ${window.innerWidth}`);
    const luminance = (rgb) => {
        const [r, g, b] = rgb.match(/[\d.]+/g).map((v) => v / 255).map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = getComputedStyle(document.body).backgroundColor;
    const contrast = (colour) => {
        const [a, b] = [luminance(colour), luminance(paper)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const charts = [...document.querySelectorAll('svg.chart')];
    for (const svg of charts) {
        const name = svg.querySelector('title').textContent;
        const box = svg.getBoundingClientRect();
        if (box.width < 280 || box.height < 150) say(`${name}: ${box.width} x ${box.height}`);
        if (box.left < 0 || box.right > root.clientWidth + 0.5) say(`${name}: reaches beyond the page`);
        const lines = [...svg.querySelectorAll('path[fill="none"]')];
        if (!lines.length) say(`${name}: no line`);
        for (const line of lines) {
            const b = line.getBoundingClientRect();
            if (line.getTotalLength() <= 0 && !svg.querySelector('circle')) say(`${name}: a line without length`);
            if (b.left < box.left - 1 || b.right > box.right + 1 || b.top < box.top - 1 || b.bottom > box.bottom + 1) say(`${name}: a line leaves it`);
            const seen = contrast(getComputedStyle(line).stroke);
            if (seen < 3) say(`${name}: a line of contrast ${seen.toFixed(2)}`);
        }
        const texts = [...svg.querySelectorAll('text')].map((t) => ({ t, b: t.getBoundingClientRect() }));
        const scale = box.width / svg.viewBox.baseVal.width;
        for (const { t, b } of texts) {
            const size = parseFloat(t.getAttribute('font-size')) * scale;
            if (size < 10) say(`${name}: "${t.textContent}" is ${size} pixels high`);
            if (b.left < box.left - 0.5 || b.right > box.right + 0.5 || b.bottom > box.bottom + 0.5 || b.top < box.top - 0.5)
                say(`${name}: "${t.textContent}" is cut off`);
            if (contrast(getComputedStyle(t).fill) < 4.5) say(`${name}: "${t.textContent}" is faint`);
        }
        for (let i = 0; i < texts.length; i++)
            for (let j = i + 1; j < texts.length; j++) {
                const [a, b] = [texts[i].b, texts[j].b];
                const over = Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
                if (over) say(`${name}: "${texts[i].t.textContent}" lies over "${texts[j].t.textContent}"`);
            }
    }
    for (const image of document.images)
        if (!image.naturalWidth || image.getBoundingClientRect().width < 40) say(`${image.alt}: no picture`);
    for (const e of document.querySelectorAll('p, td, th, figcaption, summary, a, h1, h2, h3, strong')) {
        if (parseFloat(getComputedStyle(e).fontSize) < 12) say(`<${e.localName}> of ${getComputedStyle(e).fontSize}`);
        if (e.textContent && contrast(getComputedStyle(e).color) < 4.5) say(`faint: ${e.textContent.slice(0, 40)}`);
    }
    for (const link of document.querySelectorAll('nav a'))
        if (!document.querySelector(link.getAttribute('href'))) say(`${link.getAttribute('href')} leads nowhere`);
    const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
    if (new Set(ids).size !== ids.length) say('an id twice');
    return { wrong, charts: charts.length, pictures: document.images.length };
})()"#;

#[test]
#[ignore = "needs Chromium: run .ci/browser"]
fn a_report_looks_right() {
    let program = std::env::var("GAITPROP_CHROMIUM").expect("GAITPROP_CHROMIUM names the browser");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
    let pictures = target.join("screenshots");
    let _ = fs::remove_dir_all(&pictures);
    fs::create_dir_all(&pictures).unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Of somebody's own choice, or made here.
    match std::env::var_os("GAITPROP_RUNS") {
        Some(runs) => gaitprop(dir.path(), &format!("report {} --quiet", Path::new(&runs).canonicalize().unwrap().display())),
        None => {
            material(dir.path());
            gaitprop(dir.path(), "report runs --quiet");
        }
    }
    let page = dir.path().canonicalize().unwrap().join("report.html");
    let files = crate::program::page::downloads(&fs::read_to_string(&page).unwrap());
    let charts: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".svg")).collect();
    let wanted = charts.len();

    let mut browser = Browser::start(&program, &dir.path().join("profile"));
    for width in [360, 1200] {
        for scheme in ["light", "dark"] {
            browser.page(width, scheme);
            browser.open(&page);
            let found = browser.ask(INSPECT);
            browser.photograph(width, 2400, |n| pictures.join(format!("report-{width}-{scheme}-{n}.png")));
            assert_eq!(found["wrong"], json!([]), "at {width} pixels, {scheme}");
            assert_eq!(found["charts"], json!(wanted), "as many charts as files of them");
            assert!(found["pictures"].as_u64().unwrap() > 0, "examples are shown");
            let complaints = browser.complaints();
            assert!(complaints.is_empty(), "at {width} pixels, {scheme}: {complaints:?}");
            println!("{width} pixels, {scheme}: {} charts, {} pictures", found["charts"], found["pictures"]);
        }
    }
    // A chart as a file stands alone: its colours follow the scheme, and it has a size.
    let alone = page.with_file_name("test-accuracy.svg");
    fs::write(&alone, &charts.iter().find(|(name, _)| name == "test-accuracy.svg").unwrap().1).unwrap();
    let mut papers = Vec::new();
    for scheme in ["light", "dark"] {
        browser.page(720, scheme);
        browser.open(&alone);
        papers.push(browser.ask("getComputedStyle(document.querySelector('.paper')).fill"));
        assert!(browser.ask("document.documentElement.getBoundingClientRect().height").as_f64().unwrap() > 300.0);
        assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
        browser.photograph(720, 1000, |_| pictures.join(format!("test-accuracy-{scheme}.png")));
    }
    assert_ne!(papers[0], papers[1]);
    println!("screenshots in {}", pictures.display());
}

/// What looks for faults must find them.
#[test]
#[ignore = "needs Chromium: run .ci/browser"]
fn faults_are_found() {
    let program = std::env::var("GAITPROP_CHROMIUM").expect("GAITPROP_CHROMIUM names the browser");
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().canonicalize().unwrap().join("page.html");
    let text = |x: u32, words: &str| format!("<text x='{x}' y='50' font-size='12'>{words}</text>");
    let (over, cut) = (text(10, "left") + &text(14, "right"), text(350, "far beyond"));
    fs::write(
        &page,
        format!(
            "<body style='background:#fff'><svg class='chart' width='360' height='200' viewBox='0 0 360 200'><title>T</title>{over}{cut}\
             <path fill='none' stroke='#ddd' d='M0 0H100'/></svg><div style='width:3000px'>wide</div><img alt='none' src='data:,'>\
             <p style='color:#ccc'>faint</p><p style='font-size:8px'>small</p><img src='http://127.0.0.1:9/x.png'></body>"
        ),
    )
    .unwrap();
    let mut browser = Browser::start(&program, &dir.path().join("profile"));
    browser.page(1200, "light");
    browser.open(&page);
    let wrong = browser.ask(INSPECT)["wrong"].to_string();
    for fault in ["lies over", "cut off", "contrast", "wide on a screen", "no picture", "faint: faint", "of 8px"] {
        assert!(wrong.contains(fault), "{fault} is not found: {wrong}");
    }
    assert!(browser.complaints().iter().any(|c| c.contains("127.0.0.1")), "{:?}", browser.complaints());
}
