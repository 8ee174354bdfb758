# frozen_string_literal: true

require_relative "lib/changeover/version"

Gem::Specification.new do |spec|
  spec.name = "changeover"
  spec.version = Changeover::VERSION
  spec.summary = "Feature flags, migrations, routing, writes and worker gates of a Changeover server"
  spec.description = "Asks a Changeover server for flags, runs old and new code side by side, and falls back to what it last knew."
  spec.authors = ["The Changeover authors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.files = Dir["lib/**/*.rb", "README.md", "LICENSE"]
  spec.require_paths = ["lib"]
  spec.metadata = { "rubygems_mfa_required" => "true" }
end
