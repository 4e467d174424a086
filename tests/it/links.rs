//! Relative links of all Markdown pages.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the Markdown files below `folder`, without hidden folders and output of tools.
pub(crate) fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let skipped = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with('.') || ["target", "corpus", "artifacts"].contains(&&*name)
    };
    let mut found = Vec::new();
    for path in entries.filter(|path| !skipped(path)) {
        if path.is_dir() {
            found.extend(pages(&path));
        } else if path.extension().is_some_and(|ending| ending == "md") {
            found.push(path);
        }
    }
    found
}

/// Returns the lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2).flat_map(str::lines)
}

/// Returns the targets of links and pictures: `[text](target)`, `[text]: target`, `src="target"`.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in prose(text) {
        for (start, end) in [("](", ')'), ("src=\"", '"')] {
            found.extend(line.split(start).skip(1).filter_map(|rest| rest.split_once(end)).map(|(target, _)| target));
        }
        if line.starts_with('[') {
            found.extend(line.split_once("]: ").map(|(_, target)| target));
        }
    }
    found
}

/// Returns the anchors of a page's headings, as GitHub spells them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || "-_ ".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Whether `target`, a link of `page`, leads outside the repository or to an existing file and heading.
fn resolves(page: &Path, target: &str) -> bool {
    if target.contains("://") {
        return true;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { page.to_owned() } else { page.with_file_name(file) };
    let has_anchor = || fs::read_to_string(&path).is_ok_and(|text| anchors(&text).iter().any(|known| known == anchor));
    path.exists() && (anchor.is_empty() || has_anchor())
}

#[test]
fn relative_links_resolve() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut seen, mut broken) = (0, Vec::new());
    for page in pages(root) {
        for target in targets(&fs::read_to_string(&page).unwrap()) {
            seen += 1;
            if !resolves(&page, target) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    assert!(seen > 100, "only {seen} links found");
}

#[test]
fn a_broken_link_is_found() {
    let text = "[a](README.md#quick-start) and [b](no-page.md)\n```\n[code](ignored.md)\n```\n[c]: docs/no-page.md\n<img src=\"no.svg\">";
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let broken: Vec<_> = targets(text).into_iter().filter(|target| !resolves(&page, target)).collect();
    assert_eq!(broken, ["no-page.md", "docs/no-page.md", "no.svg"]);
    assert!(!resolves(&page, "README.md#no-such-heading"));
}
