"""How much slower than their datasheets boards are, and what that leaves open: one Gaussian process over all tables.

The inefficiencies of a board are those that all boards share, times its own deviations, times what they miss of a
network, which is alike for networks whose time goes into alike terms. All of these are unknown and normally
distributed in the logarithm. The latency is a sum of terms and so not linear in them: damped Gauss-Newton steps find
the most likely ones, and around these everything is one Gaussian process (Rasmussen and Williams 2006, chapter 2.7).
The constants of the prior are our choice, made on the tables of tools/study_roofline.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import EdgekdError
from edgekd.predict.board import Board, Measured

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_TYPICAL = Board("any", dense_tflops=1, vector_tflops=1, bandwidth_gbs=50)
"""Networks are compared by where their time would go here, so that they are alike on all boards or on none."""
_ROUNDS = 100
_FIRST_DAMPING, _EASIER, _HARDER, _HOPELESS = 0.01, 10.0, 4.0, 1e6
_SETTLED = 1e-7


class Prior(NamedTuple):
    """What is believed before anything is measured; means and deviations of logarithms, terms in the order of TERMS."""

    inefficiency: tuple[float, ...] = (1.3, 4.0, 2.0, 3.0, 3.0, 4.0, 1.3, 2.0)
    """Times the datasheet's best, not as a logarithm: dense layers come near it, depthwise ones do not."""
    shared: tuple[float, ...] = (0.7, 1.0, 0.7, 0.7, 0.7, 0.7, 0.3, 0.7)
    """How far the boards together may be from that."""
    own: float = 0.15
    """How far a board may be from the others, in each term."""
    speed: float = 0.5
    """How far it may be as a whole: clocks and power modes."""
    network: float = 0.3
    """What the terms miss of a network, on all boards alike."""
    network_here: float = 0.1
    """What they miss of it on one board only."""
    likeness: float = 0.2
    """How far the shares of two networks may differ that are missed alike."""
    noise: float = 0.03


class _Asked(NamedTuple):
    """Networks on boards, as the Gaussian process sees them."""

    times: Array
    """At the datasheet's best, (m, 8)."""
    boards: Rows
    shares: Array
    """Square roots of the shares of the terms on a typical board, (m, 8)."""
    slopes: Array
    """Derivative of the logarithm of the latency by that of each inefficiency, (m, 8): the shares of the terms here."""


class Inefficiencies:
    """Fitted on tables of one board each; a table may be empty, then only the others tell of its board."""

    def __init__(self, tables: Sequence[Measured], prior: Prior) -> None:
        self._prior = prior
        self._mean = np.log(prior.inefficiency)
        self._units = np.stack([table.board.unit_ms() for table in tables])
        self._logs = np.log(np.concatenate([table.latencies_ms for table in tables]))
        works = np.concatenate([table.works for table in tables])
        boards = np.repeat(np.arange(len(tables)), [len(table.latencies_ms) for table in tables])
        self._seen = self._asked(works, boards)
        self.logs: Array = np.tile(self._mean, (len(tables), 1))
        """Logarithm of the inefficiency of each table's board in each term, (t, 8)."""
        self._solve()

    def posterior(self, works: Array, table: int = 0) -> tuple[Array, Array]:
        """Return mean (n,) and covariance (n, n) of the logarithm of the latency in ms, without a measurement's noise.

        `works` (n, 8) are those of n networks on the board of a table.
        """
        asked = self._asked(np.asarray(works, np.float64), np.full(len(works), table, np.intp))
        values, new = self._linear(asked)
        across = self._covariance(new, self._seen)
        mean = values - self._moved(new) + across @ self._solved
        return mean, self._covariance(new, new) - across @ self._inverse @ across.T

    def _solve(self) -> None:
        """Find the most likely inefficiencies by damped Gauss-Newton steps, each a gain (Levenberg 1944)."""
        whitening = np.linalg.inv(np.linalg.cholesky(self._missed(self._seen, self._seen) + self._noise()))
        found = np.zeros(self._spread().shape[1])  # in standard deviations of the prior
        damping, best = _FIRST_DAMPING, np.inf
        tried = found
        for _ in range(_ROUNDS):
            self.logs = self._mean + (self._spread() @ tried).reshape(self.logs.shape)
            values, seen = self._linear(self._seen)
            residuals = whitening @ (self._logs - values)
            value = float(tried @ tried + residuals @ residuals)
            if value < best:
                settled = best - value < _SETTLED
                found, best, self._seen, damping = tried, value, seen, damping / _EASIER
                slopes = whitening @ self._slopes(seen)
                gradient = slopes.T @ residuals - found
                curvature = slopes.T @ slopes + np.eye(len(found))
                if settled:
                    break
            else:
                damping *= _HARDER
                if damping > _HOPELESS:
                    break
            tried = found + np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
        self.logs = self._mean + (self._spread() @ found).reshape(self.logs.shape)
        values, self._seen = self._linear(self._seen)
        self._inverse = np.linalg.inv(self._covariance(self._seen, self._seen) + self._noise())
        self._solved = self._inverse @ (self._logs - values + self._moved(self._seen))

    def _spread(self) -> Array:
        """Return what one standard deviation of each unknown moves: (8 t, 8 + 8 t + t), shared, own and speed."""
        tables, terms = self.logs.shape
        shared = np.tile(np.diag(self._prior.shared), (tables, 1))
        own = self._prior.own * np.eye(tables * terms)
        speed = self._prior.speed * np.kron(np.eye(tables), np.ones((terms, 1)))
        return np.hstack([shared, own, speed])

    def _slopes(self, asked: _Asked) -> Array:
        """Return the derivative of the logarithm of the latencies by each unknown, (m, 8 + 8 t + t)."""
        here = (asked.boards[:, None] == np.arange(len(self.logs))).astype(np.float64)
        return np.asarray(
            (here[:, :, None] * asked.slopes[:, None]).reshape(len(here), self.logs.size) @ self._spread()
        )

    def _noise(self) -> Array:
        return np.asarray(self._prior.noise**2 * np.eye(len(self._logs)))

    def _linear(self, asked: _Asked) -> tuple[Array, _Asked]:
        """Return the logarithm of the modelled latencies, (m,), and what was asked with its slopes renewed."""
        parts = asked.times * np.exp(self.logs[asked.boards])
        total = parts.sum(axis=1)
        return np.log(total), asked._replace(slopes=parts / total[:, None])

    def _moved(self, asked: _Asked) -> Array:
        return np.asarray((asked.slopes * (self.logs - self._mean)[asked.boards]).sum(axis=1))

    def _covariance(self, one: _Asked, other: _Asked) -> Array:
        prior = self._prior
        terms = (one.slopes * np.square(prior.shared)) @ other.slopes.T
        here = prior.own**2 * one.slopes @ other.slopes.T + prior.speed**2
        return np.asarray(terms + _same(one, other) * here + self._missed(one, other))

    def _missed(self, one: _Asked, other: _Asked) -> Array:
        """Return the covariance of what the terms miss of networks."""
        prior = self._prior
        distances = (one.shares**2).sum(1)[:, None] + (other.shares**2).sum(1)[None] - 2 * one.shares @ other.shares.T
        alike = np.exp(-np.maximum(distances, 0) / (2 * prior.likeness**2))
        return np.asarray(alike * (prior.network**2 + _same(one, other) * prior.network_here**2))

    def _asked(self, works: Array, boards: Rows) -> _Asked:
        if not (works >= 0).all() or not (works.sum(axis=1) > 0).all():
            raise EdgekdError("a network must hold at least one kernel and no negative work; leave it out")
        spent = works * _TYPICAL.unit_ms() * np.exp(self._mean)
        return _Asked(works * self._units[boards], boards, np.sqrt(spent / spent.sum(axis=1, keepdims=True)), works)


def _same(one: _Asked, other: _Asked) -> Array:
    """Return 1 where two networks were asked about on the same board, else 0."""
    return np.asarray((one.boards[:, None] == other.boards[None]).astype(np.float64))
