"""Trains the demo model: ResNet-18 at half width (32, 64, 128, 256 channels), torchvision's tensor names.

    python train.py --font NotoColorEmoji.ttf --out demo.pt --minutes 60 --phases 112:0.5,224:0.5

The loss sees which classes are in a picture and nothing else: no boxes, no masks. With `cam[k]` the class activation map
(fc applied at each cell of layer4) it is the sum of
  - cross-entropy of the logits, `mean(cam) + bias`, against a uniform target over the classes present;
  - the same for logits pooled by log-mean-exp instead of the mean, which rewards one cell that is sure (multiple-instance
    learning) and so teaches small objects early;
  - half the binary cross-entropy of the logits, class by class, which keeps them low where nothing is shown;
  - `--local` times the disagreement of maps under cutting and pasting: with a rectangle of one picture pasted into another,
    each cell of the map must be what it was in the picture that the cell came from (the consistency of French et al. 2020,
    which needs no labels). Without it a cell beside an object, which sees the object too, answers as loudly as the object.
Phases are shares of wall time and each has its own one-cycle, so a second run is alike, not identical to the bit.
The pictures themselves are fixed by their seeds.
"""

import argparse
import math
import time

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

import scenes

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def build(classes=len(scenes.LABELS), width=32):
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=classes)
    net.inplanes = width
    net.conv1, net.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
    for stage in range(4):
        layer = net._make_layer(BasicBlock, width << stage, 2, 1 if stage == 0 else 2)
        setattr(net, f"layer{stage + 1}", layer)
    net.fc = nn.Linear(width * 8, classes)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    nn.init.constant_(net.fc.bias, -3.0)
    return net.to(memory_format=torch.channels_last)


def features(net, rgb):
    """layer4 of u8 pictures [N, H, W, 3]."""
    x = (rgb.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    x = net.maxpool(net.relu(net.bn1(net.conv1(x.contiguous(memory_format=torch.channels_last)))))
    return net.layer4(net.layer3(net.layer2(net.layer1(x))))


def loss_of(net, maps, present):
    cam = torch.einsum("nchw,kc->nkhw", maps, net.fc.weight).flatten(2)
    mean = cam.mean(2) + net.fc.bias
    peak = torch.logsumexp(cam, 2) - math.log(cam.shape[2]) + net.fc.bias
    some = present.sum(1) > 0
    target = present[some] / present[some].sum(1, keepdim=True)
    ce = F.cross_entropy(mean[some], target)
    loss = ce + F.cross_entropy(peak[some], target) + 0.5 * F.binary_cross_entropy_with_logits(mean, present, reduction="none").sum(1).mean()
    return loss, ce, mean


def paste(rgb, cells):
    """Each picture with a rectangle of whole cells from the next picture of the batch, and which cells those are [N, h, w]."""
    taken = torch.zeros(len(rgb), cells, cells, dtype=torch.bool)
    for cell in taken:
        (top, left), (h, w) = torch.randint(0, cells - 1, (2,)), torch.randint(2, cells, (2,))
        cell[top : top + h, left : left + w] = True
    side = rgb.shape[1] // cells
    pixels = taken.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return torch.where(pixels[..., None], rgb.roll(-1, 0), rgb), taken


def disagreement(net, maps, pasted, taken, present):
    """Mean squared difference of the maps of the classes in either picture, relative to their mean square."""
    cam, got = (torch.einsum("nchw,kc->nkhw", m, net.fc.weight) for m in (maps, pasted))
    want = torch.where(taken[:, None], cam.roll(-1, 0), cam)
    shown = (present + present.roll(-1, 0) > 0).float()[..., None, None]
    return ((got - want) ** 2 * shown).sum() / (want.detach() ** 2 * shown).sum()


class Pictures(torch.utils.data.IterableDataset):
    def __init__(self, font, size, first_seed):
        self.font, self.size, self.first_seed = font, size, first_seed

    def __iter__(self):
        torch.set_num_threads(1)
        draw = scenes.Scenes(self.font)
        worker = torch.utils.data.get_worker_info()
        seed, step = self.first_seed + worker.id, worker.num_workers
        while True:
            scene = draw.draw(seed, self.size)
            seed += step
            present = torch.zeros(len(scenes.LABELS))
            present[scene.classes] = 1
            yield torch.from_numpy(scene.rgb), present


def run_phase(net, args, size, minutes, first_seed):
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0}], lr=args.lr)
    loader = torch.utils.data.DataLoader(Pictures(args.font, size, first_seed), batch_size=args.batch, num_workers=1, prefetch_factor=8)
    net.train()
    start, seen, sums = time.time(), 0, torch.zeros(4)
    for step, (rgb, present) in enumerate(loader, 1):
        done = (time.time() - start) / (60 * minutes)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, step / args.warmup) * max(0.005, (1 + math.cos(math.pi * done)) / 2)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            mixed, taken = paste(rgb, size // 32)
            both = features(net, torch.cat((rgb, mixed)) if args.local else rgb).float()
        maps = both[: len(rgb)]
        loss, ce, logits = loss_of(net, maps, present)
        apart = disagreement(net, maps, both[len(rgb) :], taken, present) if args.local else torch.zeros(())
        loss = loss + args.local * apart
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        seen += len(rgb)
        top = present.gather(1, logits.argmax(1, keepdim=True)).sum() / (present.sum(1) > 0).sum()
        sums += torch.tensor([loss.item(), ce.item(), top.item(), apart.item()])
        if step % 100 == 0:
            rate = seen / (time.time() - start)
            print(f"{size} px  pictures {seen}  loss {sums[0] / 100:.3f}  cross-entropy {sums[1] / 100:.3f}  top-1 present {sums[2] / 100:.3f}  disagreement {sums[3] / 100:.3f}  {rate:.0f}/s  {time.time() - start:.0f} s", flush=True)
            sums.zero_()
            torch.save(net.state_dict(), args.out)
    torch.save(net.state_dict(), args.out)
    print(f"{size} px: {seen} pictures from seed {first_seed} in {minutes:.1f} min", flush=True)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--font", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--init", help="weights to go on from")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--phases", default="112:0.5,224:0.5")
    parser.add_argument("--seed", type=int, default=1, help="pictures are drawn from seed * 10**9 on")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--local", type=float, default=0, help="weight of the consistency under pasting; sizes must be multiples of 32")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 convolutions, where the processor has them")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    net = build()
    if args.init:
        net.load_state_dict(torch.load(args.init, map_location="cpu"))
    seed = args.seed * 10**9
    for size, share in (phase.split(":") for phase in args.phases.split(",")):
        seed += run_phase(net, args, int(size), args.minutes * float(share), seed)


if __name__ == "__main__":
    main()
