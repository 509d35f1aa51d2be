#!/usr/bin/env python3
"""ResNet-18 with a class activation map at full size on one GPU, beside PyTorch with torchcam and TensorRT, in one run.

    pip install torch torchvision torchcam safetensors        # and tensorrt onnx, where it is to take part
    cargo build --release
    python benches/peers/gpu.py --batch 1 8 32 128

What every engine does in a pass: images already on the device, half precision (f32 sums where the engine lets one choose), one
forward pass, the best class of each image, its map enlarged to 224x224 and scaled to [0, 1], left on the device. TensorRT runs
the same graph exported to ONNX. First it is checked that all of them choose the same class of most images and that their maps
agree. Engines that are not installed are named and left out. With `--device cpu` it runs in f32 without TensorRT: to try the
script, not to compare anything, for `benches/peers/run.py` does that.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import network

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "peers"
COSINE = 0.99  # maps of one image, between two engines


def with_map(torch, net):
    """The network with its class activation map in the graph, as somebody who cares for speed would write it."""

    class Explained(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(*list(net.children())[:-2])
            self.fc = net.fc

        def forward(self, x):
            features = self.body(x)
            logits = self.fc(features.mean((2, 3)))
            best = logits.argmax(1)
            maps = torch.einsum("nchw,nc->nhw", features, self.fc.weight[best])[:, None]
            maps = torch.nn.functional.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)
            low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
            return best, (maps - low) / (high - low)

    return Explained().eval()


class Torch:
    """One way of running the network with its map in PyTorch."""

    def __init__(self, torch, net, device, channels_last=False, compiled=False):
        self.torch = torch
        dtype = torch.float16 if device == "cuda" else torch.float32
        self.net = with_map(torch, net).to(device, dtype)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.net = self.net.to(memory_format=self.format)
        if compiled:
            self.net = torch.compile(self.net, mode="max-autotune")

    def prepare(self, images):
        return images.to(next(self.net.parameters()).dtype).contiguous(memory_format=self.format)

    def run(self, images):
        with self.torch.inference_mode():
            return self.net(images)


class TorchCam:
    """PyTorch eager with the library that people reach for."""

    def __init__(self, torch, net, device):
        import copy

        from torchcam.methods import CAM

        self.torch = torch
        self.net = copy.deepcopy(net).to(device, torch.float16 if device == "cuda" else torch.float32)
        self.cam = CAM(self.net, target_layer="layer4", fc_layer="fc")

    def prepare(self, images):
        return images.to(next(self.net.parameters()).dtype)

    def run(self, images):
        functional = self.torch.nn.functional
        with self.torch.no_grad():
            best = self.net(images).argmax(1)
            maps = self.cam(best.tolist())[0][:, None]  # its interface takes the classes through the host
            return best, functional.interpolate(maps, size=images.shape[2:], mode="bilinear", align_corners=False)


class TensorRt:
    """The graph of `with_map` built by TensorRT for one batch size."""

    def __init__(self, torch, net, batch):
        import tensorrt as trt

        self.torch = torch
        path = WORK / f"explained-{batch}.onnx"
        WORK.mkdir(parents=True, exist_ok=True)
        image = torch.zeros(batch, 3, 224, 224)
        names = {"input_names": ["x"], "output_names": ["best", "maps"]}
        torch.onnx.export(with_map(torch, net), image, path, dynamo=False, **names)
        logger = trt.Logger(trt.Logger.WARNING)
        builder = trt.Builder(logger)
        graph = builder.create_network(0)
        parser = trt.OnnxParser(graph, logger)
        if not parser.parse_from_file(str(path)):
            raise RuntimeError(f"TensorRT cannot read the graph: {parser.get_error(0)}")
        config = builder.create_builder_config()
        config.set_flag(trt.BuilderFlag.FP16)
        plan = builder.build_serialized_network(graph, config)
        self.engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        self.context = self.engine.create_execution_context()
        kinds = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        kinds |= {trt.DataType.INT32: torch.int32, trt.DataType.INT64: torch.int64}
        self.outputs = {}
        for name in ("best", "maps"):
            shape, kind = tuple(self.engine.get_tensor_shape(name)), kinds[self.engine.get_tensor_dtype(name)]
            self.outputs[name] = torch.empty(shape, dtype=kind, device="cuda")
            self.context.set_tensor_address(name, self.outputs[name].data_ptr())

    def prepare(self, images):
        return images.float().contiguous()

    def run(self, images):
        self.context.set_tensor_address("x", images.data_ptr())
        self.context.execute_async_v3(self.torch.cuda.current_stream().cuda_stream)
        return self.outputs["best"], self.outputs["maps"]


def milliseconds(torch, run, device, iters, warm_up):
    """Times of single passes, by the device's clock where there is one."""
    for _ in range(warm_up):
        run()
    times = []
    for _ in range(iters):
        if device == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
    return times


def ours(args, weights, batch):
    """`camshaft bench` on the same weights."""
    command = [args.camshaft, "bench", "--weights", weights, "--device", args.device, "--batch", str(batch), "--maps", "1"]
    command += ["--levels", "f32", "--iters", str(args.iters), "--warm-up", str(args.warm_up), "--json"]
    command += args.ours
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    found = json.loads(done.stdout.splitlines()[-1])
    return [ms * batch for ms in found["ms_per_image"]], found["device"]


def check(torch, name, got, want):
    """Classes and maps of `name` against those of PyTorch eager."""
    same = (got[0].cpu().long() == want[0].cpu().long()).float().mean().item()
    a, b = (maps.float().cpu().flatten(1) for maps in (got[1], want[1]))
    chosen = got[0].cpu().long() == want[0].cpu().long()
    cosine = torch.nn.functional.cosine_similarity(a[chosen], b[chosen]).min().item() if chosen.any() else 0.0
    if same < 0.9 or not cosine >= COSINE:
        sys.exit(f"{name} disagrees with PyTorch eager: same class {same:.2f} of the images, least cosine {cosine:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--iters", type=int, default=100)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--camshaft", type=pathlib.Path, default=ROOT / "target" / "release" / "camshaft")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out: it takes minutes to begin")
    parser.add_argument("ours", nargs="*", help="more options for camshaft bench, after --")
    args = parser.parse_args()

    import torch
    from safetensors.torch import save_file

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device here; there is nothing to compare")
    net = network.resnet18(torch)
    WORK.mkdir(parents=True, exist_ok=True)
    weights = WORK / "gpu.safetensors"
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, weights)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if args.device == 'cuda' else 'cpu'}")

    for batch in args.batch:
        makers = {
            "torch eager": lambda: Torch(torch, net, args.device),
            "torch channels_last": lambda: Torch(torch, net, args.device, channels_last=True),
            "torch.compile": lambda: Torch(torch, net, args.device, channels_last=True, compiled=True),
            "torchcam": lambda: TorchCam(torch, net, args.device),
            "TensorRT": lambda: TensorRt(torch, net, batch),
        }
        if args.no_compile:
            del makers["torch.compile"]
        if args.device == "cpu":
            del makers["TensorRT"]
        images = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(args.device)
        times, want = {}, None
        for name, make in makers.items():
            try:
                engine = make()
            except ImportError as error:
                print(f"{name}: left out, {error.name} is not installed")
                continue
            prepared = engine.prepare(images)
            got = engine.run(prepared)
            want = want or got
            check(torch, name, got, want)
            times[name] = milliseconds(torch, lambda: engine.run(prepared), args.device, args.iters, args.warm_up)
        mine, device = ours(args, weights, batch)
        times[f"camshaft on {device}"] = mine
        median = statistics.median(mine)
        print(f"\nbatch {batch}\n| engine | ms, median | p10 | p90 | images/s | of camshaft's time |\n|---|---|---|---|---|---|")
        for name, values in times.items():
            p10, *_, p90 = statistics.quantiles(values, n=10)
            middle = statistics.median(values)
            print(f"| {name} | {middle:.3f} | {p10:.3f} | {p90:.3f} | {batch / middle * 1e3:.0f} | {middle / median:.2f} |")


if __name__ == "__main__":
    main()
