"""Local fakes of outside services with programmable faults; they import nothing of ours but kit."""

from paystate.simulators.running import RunningSimulator, simulator_names, start_simulator

__all__ = ["RunningSimulator", "simulator_names", "start_simulator"]
