"""A simulated centrifugal pump whose bearing can go bad and be repaired, for the demo and its model.

One idea: all four channels follow from one hidden state, so they move together while the pump is healthy,
and damage breaks that. Time is compressed, **1 s here stands for 1 min at a real pump**: what takes a real
bearing housing minutes a person sees within seconds. Time constants below are in simulated seconds.

========================  ===========================================================================
demand ``u``              0.5..1.0 of rated; Ornstein-Uhlenbeck around 0.78, sd 0.07, 8 s
relative speed ``r``      first-order lag of the drive: ``dr/dt = (u - r) / 1.0 s``
pressure, bar             ``P r²`` (affinity laws: head grows with the square of the speed)
shaft power, relative     ``r³`` (affinity laws: power grows with its cube)
damage ``d``              0..1; linear over ``ramp_s``, back to 0 when repaired
current, A                ``I₀ + I₁ r³ + I_d d r``: no load, hydraulic power, friction torque times speed
vibration, g RMS          ``√(V² r⁴ + (V_d d r x)²)``: imbalance force grows with speed², impacts of the
                          damaged bearing add in power; ``x`` is gamma(2, 1/2): mean 1, heavy tail
housing temperature, °C   ``dT/dt = (T_a + K_l (I/I_r)² + K_d d r - T) / 3.5 s``: ambient, ohmic losses,
                          bearing friction
========================  ===========================================================================

Every channel carries its sensor's noise. Each pump (seed) has gains of its own, within about one percent,
and an ambient of its own, within about half a degree: different machines of one type, near enough for one
model.

Reference:
    Gülich, Centrifugal Pumps, 3.6 (affinity laws); Randall & Antoni, Rolling element bearing diagnostics,
    2011 (impacts and their random amplitude).
"""

import math
from dataclasses import dataclass

import numpy as np

CHANNELS: tuple[tuple[str, str], ...] = (
    ("temperature", "°C"),
    ("vibration", "g"),
    ("pressure", "bar"),
    ("current", "A"),
)

_DEMAND_MEAN, _DEMAND_SD, _DEMAND_TAU_S = 0.78, 0.07, 8.0
_DEMAND_MIN, _DEMAND_MAX = 0.5, 1.0
_DRIVE_TAU_S = 1.0
_THERMAL_TAU_S = 3.5
_RATED_PRESSURE_BAR = 6.0
_IDLE_CURRENT_A, _LOAD_CURRENT_A, _FRICTION_CURRENT_A = 4.0, 10.0, 0.9
_VIBRATION_G, _IMPACT_G = 0.32, 0.45
_AMBIENT_C, _LOSS_HEAT_C, _FRICTION_HEAT_C = 24.0, 30.0, 9.0
_NOISE = (0.15, 0.012, 0.04, 0.10)  # standard deviation of each channel's sensor, in its unit
_GAIN_SPREAD, _AMBIENT_SPREAD_C = 0.006, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class BearingFault:
    """A bearing that wears, and is replaced.

    Attributes:
        begins_s: Simulated seconds after the first reading when wear begins.
        lasts_s: Seconds until the bearing is replaced; damage is 0 from then on.
        ramp_s: Seconds over which damage grows from 0 to 1; positive.
    """

    begins_s: float
    lasts_s: float
    ramp_s: float = 4.0

    def damage(self, at_s: float) -> float:
        """Tell how worn the bearing is at a time, 0..1."""
        worn_s = at_s - self.begins_s
        return min(worn_s / self.ramp_s, 1.0) if 0.0 <= worn_s < self.lasts_s else 0.0


class Pump:
    """One pump; each ``step`` is its next reading. The same arguments give the same readings."""

    def __init__(self, *, seed: int, interval_s: float = 0.05, fault: BearingFault | None = None) -> None:
        """Build the pump in its thermal steady state.

        Args:
            seed: Decides the pump's parameters, its demand and its noise.
            interval_s: Simulated seconds between two readings, positive, well below the drive's 1 s.
            fault: A bearing that goes bad; None for a pump that stays healthy.
        """
        self._random = np.random.default_rng(seed)
        self._interval_s = interval_s
        self._fault = fault
        self._steps = 0
        gains = 1.0 + _GAIN_SPREAD * np.clip(self._random.standard_normal(4), -2.0, 2.0)
        self._heat, self._vibration, self._pressure, self._current = (float(gain) for gain in gains)
        self._ambient_c = _AMBIENT_C + _AMBIENT_SPREAD_C * float(
            np.clip(self._random.standard_normal(), -2.0, 2.0)
        )
        self._demand = _DEMAND_MEAN
        self._speed = _DEMAND_MEAN
        self._temperature_c = self._steady_c(self._amperes(0.0), 0.0)

    @property
    def damage(self) -> float:
        """How worn the bearing is at the next reading, 0..1: the truth that a detector must find."""
        return 0.0 if self._fault is None else self._fault.damage(self._steps * self._interval_s)

    def step(self) -> tuple[float, float, float, float]:
        """Advance by one interval.

        Returns:
            Temperature in °C, vibration in g RMS, pressure in bar, current in A, as in ``CHANNELS``.
        """
        draws = self._random.standard_normal(5).tolist()
        impact = float(self._random.gamma(2.0, 0.5))
        damage = self.damage
        self._advance_drive(draws[4])
        amperes = self._amperes(damage)
        self._temperature_c += (self._steady_c(amperes, damage) - self._temperature_c) * (
            1.0 - math.exp(-self._interval_s / _THERMAL_TAU_S)
        )
        imbalance_g = _VIBRATION_G * self._vibration * self._speed**2
        readings = (
            self._temperature_c,
            math.hypot(imbalance_g, _IMPACT_G * damage * self._speed * impact),
            _RATED_PRESSURE_BAR * self._pressure * self._speed**2,
            amperes,
        )
        self._steps += 1
        temperature, vibration, pressure, current = (
            value + sd * draw for value, sd, draw in zip(readings, _NOISE, draws, strict=False)
        )
        return temperature, abs(vibration), pressure, current

    def _advance_drive(self, draw: float) -> None:
        # the exact discretisation of both equations, so that the statistics don't depend on the interval
        kept = math.exp(-self._interval_s / _DEMAND_TAU_S)
        demand = _DEMAND_MEAN + (self._demand - _DEMAND_MEAN) * kept
        demand += _DEMAND_SD * math.sqrt(1.0 - kept * kept) * draw
        self._demand = min(max(demand, _DEMAND_MIN), _DEMAND_MAX)
        self._speed += (self._demand - self._speed) * (1.0 - math.exp(-self._interval_s / _DRIVE_TAU_S))

    def _amperes(self, damage: float) -> float:
        hydraulic = _LOAD_CURRENT_A * self._speed**3
        return self._current * (_IDLE_CURRENT_A + hydraulic) + _FRICTION_CURRENT_A * damage * self._speed

    def _steady_c(self, amperes: float, damage: float) -> float:
        load = amperes / (_IDLE_CURRENT_A + _LOAD_CURRENT_A)
        heat_c = _LOSS_HEAT_C * self._heat * load**2 + _FRICTION_HEAT_C * damage * self._speed
        return self._ambient_c + heat_c
