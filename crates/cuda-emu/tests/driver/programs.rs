//! Other programs: one that is given the device from outside, the report file, and the runner.

use std::process::{Command, Output};

use cudarc::driver::{CudaContext, LaunchConfig, PushKernelArg};

use crate::harness::{KERNELS, device};

/// Runs one test of this program in a process of its own.
fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).envs(variables.iter().copied());
    command.output().unwrap()
}

#[test]
#[ignore = "run by the test below, with the library preloaded"]
fn child_that_installs_nothing() {
    let context = CudaContext::new(0).unwrap();
    println!("{}", context.name().unwrap());
    context.default_stream().alloc_zeros::<u8>(10).unwrap().leak();
}

#[test]
fn a_preloaded_library_needs_no_help() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let library = cuda_emu::driver::library().unwrap();
    let variables =
        [("LD_PRELOAD", library.to_str().unwrap()), ("CUDA_EMU_DEVICE", "H100"), ("CUDA_EMU_REPORT", report.to_str().unwrap())];
    let output = child("programs::child_that_installs_nothing", &variables);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("software device (H100 profile)"), "{out}{err}");
    assert!(err.contains("cuda-emu: software device in use (H100 profile)") && err.contains("Leaked allocation"), "{err}");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["findings"][0]["kind"], "leak", "{report:#}");
}

#[test]
fn without_it_nothing_pretends_to_be_a_gpu() {
    let output = child("programs::child_that_installs_nothing", &[("LD_PRELOAD", ""), ("CUDA_VISIBLE_DEVICES", "")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("software device"), "{text}");
}

#[test]
fn misspelt_settings_are_refused() {
    let library = cuda_emu::driver::library().unwrap();
    let variables = [("LD_PRELOAD", library.to_str().unwrap()), ("CUDA_EMU_CHECK", "perhaps")];
    let output = child("programs::child_that_installs_nothing", &variables);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("CUDA_EMU_CHECK=perhaps: expected one of fail, report, off"));
    assert!(cuda_emu::driver::install(&[("CUDA_EMU_STREAMS", "sideways")]).is_err());
    assert!(cuda_emu::driver::install(&[("CUDA_EMU_STREEMS", "lazy")]).is_err());
}

#[test]
fn the_report_is_written_when_a_context_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let device = device(&[("CUDA_EMU_REPORT", path.to_str().unwrap()), ("CUDA_EMU_DEVICE", "L4")]);
    device.finish();
    // Or the file would be written again at exit, when its folder is gone.
    cuda_emu::driver::install(&[("CUDA_EMU_REPORT", "")]).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(report["device"], "software device (L4 profile)");
}

/// Processes that share a folder do not overwrite each other, and what a program took from its report is still counted by kernel.
#[test]
fn reports_of_several_processes_have_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let device = device(&[("CUDA_EMU_REPORT", folder.path().to_str().unwrap())]);
    let fill = || {
        let (kernel, stream) = (device.kernel(KERNELS, "fill"), device.context.new_stream().unwrap());
        let mut out = stream.alloc_zeros::<u32>(37).unwrap();
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (37, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the kernel's parameters, and room for what 37 threads write.
        unsafe { stream.launch_builder(&kernel).arg(&mut out).arg(&5u32).launch(config) }.unwrap();
        stream.synchronize().unwrap();
    };
    fill();
    let taken = device.installed.take_report();
    fill();
    device.finish();
    cuda_emu::driver::install(&[("CUDA_EMU_REPORT", "")]).unwrap();

    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    assert!(file.to_str().unwrap().ends_with(&format!(".{}.json", std::process::id())), "{}", file.display());
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let stored = |launches: &serde_json::Value| -> Vec<u64> {
        let launches = launches.as_array().unwrap().iter().filter(|launch| launch["block"][0] == 37);
        launches.map(|launch| launch["counters"]["global_store"]["bytes"].as_u64().unwrap()).collect()
    };
    assert_eq!((stored(&taken["launches"]), stored(&report["launches"])), (vec![148], vec![148]));
    assert_eq!(stored(&report["kernels"]), [296], "both");
}

fn runner(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cuda-emu")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_runner_runs_one_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernels.ptx");
    std::fs::write(&path, KERNELS).unwrap();
    let file = path.to_str().unwrap();

    let (status, out, _) = runner(&["run", file, "--kernel", "fill", "--block", "4", "i32[4]", "u32:-1"]);
    assert_eq!((status, out.as_str()), (Some(2), ""), "-1 is no u32");
    let (status, out, err) = runner(&["run", file, "--kernel", "fill", "--block", "4", "i32[4]", "i32:-1"]);
    assert!(status == Some(0) && out.contains("4 of 4: -1 0 1 2") && out.contains("0 findings"), "{out}{err}");
    let (status, out, _) = runner(&["run", file, "--kernel", "add", "--json", "u32[32]=zeros", "u32[31]=iota"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["findings"][0]["kind"]), (Some(1), &"out_of_bounds".into()), "{report:#}");
    let (status, _, err) = runner(&["run", file]);
    assert!(status == Some(2) && err.contains("choose with --kernel"), "{err}");
    let (status, _, err) = runner(&["run", file, "--kernel", "add", "u32:1", "u32[1]"]);
    assert!(status == Some(2) && err.contains("argument 1 (`out`) has 8 bytes, 4 given"), "{err}");
    let (status, out, _) = runner(&["list", file]);
    assert!(status == Some(0) && out.contains("fill: out (8 bytes), value (4 bytes)"), "{out}");
}
