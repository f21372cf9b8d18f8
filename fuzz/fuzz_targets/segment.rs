//! Any bytes over the files of a log: reading, verifying and recovering it never panics, and a
//! second recovery finds nothing to do.
#![no_main]

use emberlog::log::{LogDir, Options};
use emberlog_fuzz::{apply, directory, files, model, patches, place, read_everything, segments};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (dir, model) = (directory(), &model().sealed);
    place(model, dir.path());
    for patch in patches(data) {
        let (name, bytes) = &model[usize::from(patch.what) % model.len()];
        apply(
            &dir.path().join(name),
            &patch,
            patch.at % bytes.len().max(1),
        );
    }
    read_everything(dir.path());
    let recover =
        || LogDir::lock(dir.path(), &Options::default()).and_then(|mut dir| dir.recover());
    if recover().is_ok() {
        let first = segments(&files(dir.path()));
        recover().expect("recovered before");
        assert!(
            first == segments(&files(dir.path())),
            "a second recovery changed a segment"
        );
        read_everything(dir.path());
    }
});
