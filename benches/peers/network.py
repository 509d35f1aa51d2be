"""The network that all engines are given."""


def resnet18(torch):
    """ResNet-18 whose batch norms fit its random weights, so that activations have a trained network's size."""
    import torchvision

    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for _ in range(4):
            net(torch.randn(4, 3, 224, 224))
    return net.eval()


def with_features(torch, net):
    """The network with layer4 beside the logits."""

    class WithFeatures(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Sequential(*list(net.children())[:-2])
            self.fc = net.fc

        def forward(self, x):
            features = self.body(x)
            return self.fc(features.mean((2, 3))), features

    return WithFeatures().eval()
