//! The directory of the demo: fresh each time, and nothing is deleted that no demo wrote.
//!
//! A file `DEMO` says what the demo wrote there. It is written before anything else, and again
//! with the list of all files at the end. A directory without it is used only if it is empty.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, store};

const MARKER: &str = "DEMO";
const FIRST_LINE: &str =
    "Written by `emberlog demo`, which deletes the files listed here when it runs again.";
/// Second line of the marker while a demo runs, and after one was killed.
const RUNNING: &str = "state: running";

/// The SQLite file beside the log.
pub const DATABASE: &str = "demo.db";

/// A directory that belongs to this run of the demo.
pub struct Place {
    dir: PathBuf,
}

impl Place {
    /// Takes `dir`: creates it, or deletes what an earlier demo wrote there.
    pub fn take(dir: &Path) -> Result<Self, Failure> {
        let place = Self {
            dir: dir.to_owned(),
        };
        match fs::symlink_metadata(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                return Err(Failure::because(
                    format!("cannot look at {}", dir.display()),
                    &e,
                ))
            }
            Ok(meta) if !meta.is_dir() => {
                let what = if meta.is_symlink() {
                    "a link"
                } else {
                    "a file"
                };
                return Err(Failure::new(format!(
                    "{} is {what}, the demo needs a directory",
                    dir.display()
                )));
            }
            Ok(_) => place.clear()?,
        }
        let broken =
            |e: io::Error| Failure::because(format!("cannot write to {}", dir.display()), &e);
        create_private(dir).map_err(broken)?;
        place.mark(RUNNING).map_err(broken)?;
        Ok(place)
    }

    /// Where the log goes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the SQLite file goes.
    pub fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }

    /// Lists what was written, for the next demo.
    pub fn finish(&self) -> Result<(), Failure> {
        let write = || {
            let files = self.files()?;
            let lines: Vec<String> = files.into_iter().filter(|name| name != MARKER).collect();
            self.mark(&lines.join("\n"))
        };
        write().map_err(|e| Failure::because(format!("cannot write to {}", self.dir.display()), &e))
    }

    fn mark(&self, text: &str) -> io::Result<()> {
        fs::write(self.dir.join(MARKER), format!("{FIRST_LINE}\n{text}\n"))
    }

    /// Files below the directory, with `/` between the parts of their names.
    fn files(&self) -> io::Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !entry.file_type()?.is_dir() {
                files.insert(name);
                continue;
            }
            let mut is_empty = true;
            for entry in fs::read_dir(entry.path())? {
                files.insert(format!("{name}/{}", entry?.file_name().to_string_lossy()));
                is_empty = false;
            }
            if is_empty && !matches!(name.as_str(), "cursors" | "aside") {
                files.insert(name);
            }
        }
        Ok(files)
    }

    /// Whether `file` is a segment, or the index of one, in which nobody recorded anything: what
    /// `recover` leaves.
    fn is_bare(&self, file: &str) -> bool {
        let stem = file.strip_suffix(".seg").or(file.strip_suffix(".idx"));
        stem.is_some_and(|stem| store::nothing_recorded(&self.dir.join(format!("{stem}.seg"))))
    }

    /// Deletes what an earlier demo wrote, or refuses and deletes nothing.
    fn clear(&self) -> Result<(), Failure> {
        let broken =
            |e: io::Error| Failure::because(format!("cannot clear {}", self.dir.display()), &e);
        let files = self.files().map_err(broken)?;
        if files.is_empty() {
            return Ok(());
        }
        let marker = fs::read_to_string(self.dir.join(MARKER)).unwrap_or_default();
        let Some(listed) = marker.strip_prefix(FIRST_LINE) else {
            return Err(Failure::new(format!(
                "{} is not empty and was not written by `emberlog demo`: name another directory with --dir",
                self.dir.display()
            )));
        };
        if store::is_in_use(&self.dir) {
            return Err(Failure::new(format!(
                "{} is being written by another process",
                self.dir.display()
            )));
        }
        let listed: BTreeSet<&str> = listed.lines().filter(|line| !line.is_empty()).collect();
        let foreign = files
            .iter()
            .find(|file| !is_ours(file, &listed) && !self.is_bare(file));
        if let Some(foreign) = foreign {
            return Err(Failure::new(format!(
                "{} was not written by `emberlog demo`: move it, or name another directory with --dir",
                self.dir.join(foreign).display()
            )));
        }
        for file in &files {
            fs::remove_file(self.dir.join(file)).map_err(broken)?;
        }
        for dir in ["cursors", "aside"] {
            match fs::remove_dir(self.dir.join(dir)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(broken(e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether a demo wrote `file`: it is listed, comes with a listed one, or a demo that was killed
/// before it wrote the list left it.
fn is_ours(file: &str, listed: &BTreeSet<&str>) -> bool {
    if file == MARKER || file == "lock" || listed.contains(file) {
        return true;
    }
    if listed.contains(RUNNING) {
        let stem = file.split_once('.').map_or(file, |(stem, _)| stem);
        let is_segment = stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit());
        return matches!(file, "LOG" | "watermark")
            || (is_segment && (file.ends_with(".seg") || file.ends_with(".idx")))
            || file.starts_with(DATABASE)
            || file.starts_with("cursors/")
            || file.starts_with("aside/");
    }
    let with = |suffix: &str, of: &str| {
        let stem = file.strip_suffix(suffix);
        stem.is_some_and(|stem| listed.contains(format!("{stem}{of}").as_str()))
    };
    with(".idx", ".seg") || with("-wal", "") || with("-shm", "") || with("-journal", "")
}

fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        Place {
            dir: dir.to_owned(),
        }
        .files()
        .unwrap()
        .into_iter()
        .collect()
    }

    #[test]
    fn what_a_demo_wrote_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/demo");
        let place = Place::take(&dir).unwrap();
        fs::write(dir.join("00000000000000000000.seg"), "x").unwrap();
        fs::write(place.database(), "x").unwrap();
        fs::create_dir(dir.join("cursors")).unwrap();
        fs::write(dir.join("cursors/sqlite.cursor"), "x").unwrap();
        place.finish().unwrap();
        // What comes with those files later is no stranger.
        fs::write(dir.join("00000000000000000000.idx"), "x").unwrap();
        fs::write(dir.join("demo.db-wal"), "x").unwrap();
        Place::take(&dir).unwrap();
        assert_eq!(names(&dir), [MARKER]);
        // Neither is what a killed demo left.
        fs::write(dir.join("00000000000067108864.seg"), "x").unwrap();
        Place::take(&dir).unwrap();
        assert_eq!(names(&dir), [MARKER]);
    }

    #[test]
    fn what_no_demo_wrote_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("demo");
        let refused = |file: &str| {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "mine").unwrap();
            let before = names(&dir);
            assert!(Place::take(&dir).is_err(), "{file}");
            assert_eq!(names(&dir), before);
            fs::remove_file(path).unwrap();
        };
        refused("notes.txt"); // no marker at all
        let place = Place::take(&dir).unwrap();
        refused("notes.txt");
        refused("sub/notes.txt");
        fs::remove_dir(dir.join("sub")).unwrap();
        place.finish().unwrap();
        refused("00000000000067108864.seg"); // somebody else's records in the demo's log
        refused("cursors/mine.cursor");

        fs::write(root.path().join("file"), "").unwrap();
        assert!(Place::take(&root.path().join("file")).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&dir, root.path().join("link")).unwrap();
            assert!(Place::take(&root.path().join("link")).is_err());
        }
    }
}
