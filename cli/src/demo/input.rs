//! Which files the demo indexes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Larger files are left out: one of them would be a whole round.
const MAX_BYTES: u64 = 1 << 20;
/// More files are not looked for.
const MAX_FILES: usize = 200_000;

/// A file to index.
#[derive(Clone, Debug)]
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is called in the log: its path without what all have in common.
    pub name: String,
}

/// The files, and what to say about them.
pub struct Found {
    /// In an order that is always the same and mixes large and small.
    pub files: Vec<Input>,
    /// Where they come from, for people.
    pub origin: String,
    /// Files that are too large.
    pub too_large: u64,
}

/// The files below `dir`, or the sources of this project and of its dependencies.
pub fn find(dir: Option<&Path>) -> Result<Found, Failure> {
    let mut found = Found {
        files: Vec::new(),
        origin: String::new(),
        too_large: 0,
    };
    match dir {
        Some(dir) => {
            fs::read_dir(dir).map_err(|e| {
                Failure::because(format!("cannot read --input {}", dir.display()), &e)
            })?;
            walk(dir, dir, &mut found);
            found.origin = dir.display().to_string();
        }
        None => sources(&mut found)?,
    }
    if found.files.is_empty() {
        return Err(Failure::new(format!(
            "no files to index in {} (name others with --input)",
            found.origin
        )));
    }
    // Large and small files mixed, the same way each time.
    found
        .files
        .sort_by_cached_key(|file| (fnv(file.name.as_bytes()), file.name.clone()));
    Ok(found)
}

/// This project, found above the current directory or where it was built, and what it depends on.
fn sources(found: &mut Found) -> Result<(), Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let above = here
        .ancestors()
        .find(|dir| dir.join("Cargo.lock").is_file());
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let project = above.or(built.filter(|dir| dir.join("Cargo.lock").is_file()));
    let project = project.ok_or_else(|| {
        Failure::new("no Cargo project here: name files to index with --input DIR")
    })?;
    let root = project.parent().unwrap_or(project);
    walk(project, root, found);

    let lock = fs::read_to_string(project.join("Cargo.lock")).unwrap_or_default();
    let packages = packages(&lock);
    let cargo = std::env::var_os("CARGO_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registries = cargo.and_then(|dir| fs::read_dir(dir.join("registry/src")).ok());
    let mut dependencies = 0;
    for registry in registries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
    {
        for package in &packages {
            let dir = registry.join(package);
            if dir.is_dir() {
                dependencies += 1;
                walk(&dir, &registry, found);
            }
        }
    }
    found.origin = format!(
        "{} and {dependencies} of its dependencies",
        project.display()
    );
    Ok(())
}

/// `name-version` of every package in a Cargo.lock.
fn packages(lock: &str) -> Vec<String> {
    let mut packages = Vec::new();
    let mut name = "";
    for line in lock.lines() {
        let value = |key: &str| {
            let value = line.strip_prefix(key)?.strip_prefix(" = \"")?;
            value.strip_suffix('"')
        };
        if let Some(value) = value("name") {
            name = value;
        } else if let Some(version) = value("version").filter(|_| !name.is_empty()) {
            // Names come from a file: none may lead out of the registry.
            if !name.contains(['/', '\\']) && !version.contains(['/', '\\']) {
                packages.push(format!("{name}-{version}"));
            }
            name = "";
        }
    }
    packages
}

/// Adds the files below `dir`. Links are not followed; hidden directories, build output and
/// telemetry logs are left out.
fn walk(dir: &Path, root: &Path, found: &mut Found) {
    let mut stack = vec![dir.to_owned()];
    while let Some(dir) = stack.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            if kind.is_dir() && !is_skipped(&path) {
                stack.push(path);
            } else if kind.is_file() && found.files.len() < MAX_FILES {
                if entry.metadata().is_ok_and(|meta| meta.len() > MAX_BYTES) {
                    found.too_large += 1;
                    continue;
                }
                let name = path
                    .strip_prefix(root)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                found.files.push(Input { path, name });
            }
        }
    }
}

fn is_skipped(dir: &Path) -> bool {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.')
        || name == "node_modules"
        || dir.join("CACHEDIR.TAG").is_file() // target directories
        || dir.join("LOG").is_file() // emberlog directories
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_a_lock_file() {
        let lock = "version = 4\n\n[[package]]\nname = \"ahash\"\nversion = \"0.8.12\"\n\n[[package]]\nname = \"../x\"\nversion = \"1\"\n";
        assert_eq!(packages(lock), ["ahash-0.8.12"]);
    }

    #[test]
    fn input_is_walked_without_build_output() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("a.rs", "x"),
            ("sub/b.md", "y"),
            (".git/c", "z"),
            ("target/CACHEDIR.TAG", ""),
            ("target/d", ""),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut names: Vec<String> = find(Some(dir.path()))
            .unwrap()
            .files
            .into_iter()
            .map(|f| f.name)
            .collect();
        names.sort();
        assert_eq!(names, ["a.rs", "sub/b.md"]);
        assert!(find(Some(&dir.path().join("absent"))).is_err());
        assert!(find(Some(&dir.path().join("a.rs"))).is_err());
        assert!(find(Some(&dir.path().join(".git/c"))).is_err());
    }
}
