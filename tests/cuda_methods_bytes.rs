//! What the kernels of all methods do to memory on ResNet-18's shape, counted by the software device.

#![cfg(feature = "cuda")]

mod common;

use camshaft::cam::{Method, Score, Targets};
use common::cuda::{Device, Room, install, software};
use common::methods::{Batch, asked, telling};
use half::f16;

/// On ResNet-18's shape no bank conflicts, and whole sectors.
#[test]
fn memory_is_used_well() {
    if !software() {
        return; // the counters are the software device's
    }
    let device = Device::open();
    let batch = Batch::integers([2, 7, 7, 512], 1000, Room::Exact);
    let ranked = |score| Targets::Top(2, score);
    for asked in [asked(ranked(Score::Logit), Method::ONE_PASS, None), asked(ranked(Score::Probability), &telling(), None)] {
        install().take_report();
        batch.run::<f16>(&device, &asked, None, (224, 224));
        let report = install().take_report();
        let launches = report["launches"].as_array().unwrap();
        assert_eq!(launches.len(), 3, "rows, eigenvectors, maps");
        for launch in launches {
            let (counters, kernel) = (&launch["counters"], launch["kernel"].as_str().unwrap());
            let count = |access: &str, what: &str| counters[access][what].as_u64().unwrap();
            for access in ["shared_load", "shared_store"] {
                assert_eq!(count(access, "wavefronts"), count(access, "ideal_wavefronts"), "{kernel}: {access}");
            }
            let both = |what: &str| count("global_load", what) + count("global_store", what);
            let share = both("ideal_sectors") as f64 / both("sectors") as f64;
            println!("{kernel}: sectors {share:.3}");
            assert!(share >= 0.9, "{kernel}: {share}");
        }
    }
}
