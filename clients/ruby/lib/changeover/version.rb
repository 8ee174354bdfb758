# frozen_string_literal: true

module Changeover
  VERSION = "0.1.0"
end
