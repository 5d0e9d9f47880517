"""The generator over a network of this package; see ``editkit.generator`` for what a generator promises."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from editkit.colour import as_rgb
from editkit.errors import LatentError, UsageError
from editkit.feature_map import FeatureMap
from editkit.latent import Latent, Space
from editkit.latent_checks import check_maps
from editkit.layers import check_widths
from editkit.networks.stylegan2_layers import NOISE_MODES

if TYPE_CHECKING:
    from editkit.generator import GeneratorSpec
    from editkit.networks.stylegan2 import StyleGAN2Generator
    from editkit.networks.stylegan3 import StyleGAN3Generator
    from editkit.networks.stylegan_xl import StyleGANXLGenerator
    from editkit.transform import Transform


class NetworkGenerator:
    """A ``Generator`` over a StyleGAN2, StyleGAN3 or StyleGAN-XL network."""

    def __init__(
        self,
        network: StyleGAN3Generator | StyleGAN2Generator | StyleGANXLGenerator,
        spec: GeneratorSpec,
        arguments: Mapping[str, Any],
    ) -> None:
        """``network``: in evaluation mode from now on, its parameters frozen; ``arguments`` built it."""
        self._network = network.eval().requires_grad_(False)
        self._spec = spec
        self.arguments = dict(arguments)

    @property
    def spec(self) -> GeneratorSpec:
        """Facts, without running anything."""
        return self._spec

    @property
    def w_avg(self) -> Tensor:
        """[w_dim], a copy; of StyleGAN-XL, which keeps a mean for every class, the mean of those."""
        means = self._means
        return means.clone() if means.ndim == 1 else means.mean(0)

    @property
    def _means(self) -> Tensor:
        return self._network.mapping.w_avg

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self._means.device

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the weights, by their published names."""
        return {name: tensor.clone() for name, tensor in self._network.state_dict().items()}

    def with_weights(self, weights: Mapping[str, Tensor], spec: GeneratorSpec) -> NetworkGenerator:
        """The same network with other weights, complete and of the same shapes, under ``spec``; self stays as it is."""
        network = copy.deepcopy(self._network)
        network.load_state_dict(weights)
        return NetworkGenerator(network, spec, self.arguments)

    def trainable_copy(self, layers: Sequence[str] | None = None) -> tuple[NetworkGenerator, dict[str, nn.Parameter]]:
        """A copy of which some weights can be trained, and those by name; self stays as it is.

        Its spec is that of self, true until the first step. ``layers``: names of layers of StyleSpace (see ``styles``);
        None takes all of the synthesis but its input, which places the picture. Raises UsageError for others.
        """
        known = tuple(self._network.synthesis.style_widths())
        unknown = [name for name in layers or () if name not in known]
        if unknown or (layers is not None and not layers):
            raise UsageError(
                f"{self._spec.name!r} has no layers {', '.join(unknown) or '()'}; its layers are {', '.join(known)}"
            )
        network = copy.deepcopy(self._network)
        chosen = {}
        for name, parameter in network.named_parameters():
            if layers is None:
                wanted = name.startswith("synthesis.") and not name.startswith("synthesis.input.")
            else:
                wanted = any(name.startswith(f"synthesis.{layer}.") for layer in layers)
            if wanted:
                chosen[name] = parameter
        copied = NetworkGenerator(network, self._spec, self.arguments)
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        return copied, chosen

    def map(
        self,
        z: Tensor,
        *,
        label: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Latent:
        """z [N, z_dim] to a latent in w, or in w+ where ``truncation_cutoff`` makes rows differ.

        Args:
            label: [N, c_dim], one-hot or dense; zeros (no class) where a conditional generator gets none. StyleGAN-XL
                knows whole classes only and takes the largest entry: without a label, the first class.
            truncation_psi: 1 leaves w, 0 gives ``w_avg`` (of StyleGAN-XL the mean of the label's class).
            truncation_cutoff: rows that it reaches, None for all.

        Raises:
            LatentError: z or label has the wrong shape.
        """
        spec = self._spec
        if z.ndim != 2 or z.shape[1] != spec.z_dim:
            raise LatentError(f"{spec.name!r} takes z of shape [N, {spec.z_dim}], got {list(z.shape)}")
        if label is not None and label.shape != (z.shape[0], spec.c_dim):
            raise LatentError(f"{spec.name!r} takes labels [{z.shape[0]}, {spec.c_dim}], got {list(label.shape)}")
        if label is None and spec.c_dim:
            label = z.new_zeros(z.shape[0], spec.c_dim)
        ws = self._network.mapping(
            z.to(self.device),
            None if label is None else label.to(self.device),
            truncation_psi=truncation_psi,
            truncation_cutoff=truncation_cutoff,
        )
        space: Space = "w" if truncation_cutoff is None or truncation_psi == 1 else "w+"
        return Latent(space=space, codes=ws, generator=spec.id, parent=spec.parent_id)

    def styles(self, latent: Latent) -> Latent:
        """A latent in w or w+ to StyleSpace (s), layer by layer."""
        latent.require("w", "w+").check(self._spec)
        codes = self._network.synthesis.styles(latent.tensor.to(self.device))
        spec = self._spec
        return Latent(space="s", codes=codes, generator=spec.id, parent=spec.parent_id, noise=latent.noise)

    @property
    def noise_maps(self) -> dict[str, Tensor]:
        """The stored noise maps of a StyleGAN2, layer -> [r, r], copies; empty for others."""
        synthesis: Any = self._network.synthesis
        stored: dict[str, Tensor] = synthesis.noise_maps() if self._spec.kind == "stylegan2" else {}
        return {name: maps.clone() for name, maps in stored.items()}

    def _noise_of(self, latent: Latent) -> dict[str, dict[str, Tensor]]:
        """The option with which the network takes the latent's noise maps; none where it has none."""
        if latent.noise is None:
            return {}
        check_maps(latent.noise, self.noise_maps, self._spec.name)
        return {"noise": {name: maps.to(self.device) for name, maps in latent.noise.items()}}

    @property
    def style_rows(self) -> dict[str, int]:
        """The layers of s in order, each with the row of W+ that drives it; in StyleGAN2 two layers may share one."""
        return self._network.synthesis.style_rows()

    def synthesize(self, latent: Latent, *, transform: Transform | None = None, noise_mode: str = "const") -> Tensor:
        """A latent in w, w+ or s to float32 [N, 3, R, R], about in [-1, 1]; differentiable in codes and transform.
        A sample's image does not depend on the rest of its batch. Grey pictures come as RGB with equal channels, those
        with alpha on white; ``synthesize_channels`` gives them as the network makes them.

        Args:
            transform: where the content goes; StyleGAN2 can only leave it where it is.
            noise_mode: of StyleGAN2, whose noise maps make freckles and strands: "const" takes the latent's, or the
                stored ones, "random" draws others for every sample from torch's stream, "none" leaves them out.

        Raises:
            LatentError: in z, or of the wrong shape; GeneratorMismatchError: it belongs to another generator.
            UsageError: neither one transform nor one a sample, a transform of StyleGAN2, an unknown noise mode, or a
                network of other than 1, 3 or 4 channels.
        """
        return as_rgb(self.synthesize_channels(latent, transform=transform, noise_mode=noise_mode))

    def synthesize_channels(
        self, latent: Latent, *, transform: Transform | None = None, noise_mode: str = "const"
    ) -> Tensor:
        """As ``synthesize``, with the channels of the network: float32 [N, C, R, R], see ``editkit.colour``."""
        latent.require("w", "w+", "s").check(self._spec)
        if noise_mode not in NOISE_MODES:
            raise UsageError(f"no noise mode is called {noise_mode!r}; there are {', '.join(NOISE_MODES)}")
        if self._spec.kind == "stylegan2":
            self._refuse_transform(transform)
            options: dict[str, Any] = {"noise_mode": noise_mode, **self._noise_of(latent)}
        else:
            self._noise_of(latent)  # refused: there are none
            inverse = None if transform is None else transform.expand(len(latent)).inverse().to(self.device).matrix
            options = {"transform": inverse}
        synthesis = self._network.synthesis
        if latent.space == "s":
            styles = {name: codes.to(self.device) for name, codes in latent.styles.items()}
            check_widths({name: codes.shape[1] for name, codes in styles.items()}, synthesis.style_widths())
            return synthesis.from_styles(styles, **options)
        return synthesis(latent.tensor.to(self.device), **options)

    @property
    def feature_rows(self) -> list[int]:
        """For each layer that ``features`` takes, how many rows of W+ it depends on, counted from the first."""
        return self._network.synthesis.feature_rows()

    def features(self, latent: Latent, layer: int) -> FeatureMap:
        """What ``layer`` makes of a latent in w or w+, before the picture: of StyleGAN3 and -XL a layer, of StyleGAN2
        a block, both from 0 on; differentiable. Later layers are not computed. The stored transform holds, and
        the noise maps are those of ``synthesize``.

        Raises:
            LatentError, GeneratorMismatchError: as ``synthesize``.
            UsageError: there is no such layer.
        """
        latent.require("w", "w+").check(self._spec)
        count = len(self.feature_rows)
        if not 0 <= layer < count:
            raise UsageError(f"{self._spec.name!r} has features at layers 0 to {count - 1}, got {layer}")
        options: dict[str, Any] = self._noise_of(latent)
        values, rate = self._network.synthesis.features(latent.tensor.to(self.device), layer, **options)
        return FeatureMap(values=values, rate=rate, resolution=self._spec.resolution)

    def _refuse_transform(self, transform: Transform | None) -> None:
        if transform is None:
            return
        if transform.matrix.requires_grad or not transform.is_identity:
            raise UsageError(
                f"{self._spec.name!r} is a StyleGAN2, which draws on a fixed grid: its pictures cannot be moved, "
                "turned or scaled; leave the transform out, or take a StyleGAN3 generator"
            )
