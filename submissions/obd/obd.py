import torch

import cap


class OBD(cap.ScorePruner):
    """Squared weight times mean squared gradient (LeCun, Denker and Solla, 1989), with the empirical Fisher."""

    def __init__(self, num_gradients: int | None = None) -> None:
        self.num_gradients = num_gradients

    def scores(self, model, layers, calibration):
        squares = {name: torch.zeros_like(weight).flatten() for name, weight in layers.items()}
        for gradients in calibration.gradients(model, layers, self.num_gradients):
            for name, rows in gradients.items():  # rows: (images, weights)
                squares[name] += rows.square().sum(0)
        count = calibration.count(self.num_gradients)
        return {name: weight**2 * squares[name].view_as(weight) / (2 * count) for name, weight in layers.items()}
